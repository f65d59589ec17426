//! Weight bytes a second of products of one token, against what the device can read.

use super::axis::{Axis, powers_of_two};
use super::plot::{COLOURS, Plot, Point, Reference, Series};
use crate::report::Report;
use crate::row::Row;

/// The chart, or `None` without a product of one token.
pub fn draw(report: &Report) -> Option<Plot> {
    let rows = report.rows.iter();
    let rows: Vec<&Row> = rows
        .filter(|row| row.m == 1 && row.op == "matmul")
        .collect();
    let mut kinds: Vec<(&str, &str)> = rows
        .iter()
        .map(|row| (row.format.as_str(), row.activations.as_str()))
        .collect();
    kinds.sort_unstable_by(|a, b| b.cmp(a));
    kinds.dedup();
    let series: Vec<Series> = kinds
        .into_iter()
        .zip(COLOURS)
        .map(|((format, activations), colour)| Series {
            name: format!("{format}, {activations}"),
            colour,
            // Neighbours on the axis are different shapes: a line between them would mean nothing.
            joined: false,
            dashed: false,
            points: points(&rows, format, activations),
        })
        .collect();
    let all = || series.iter().flat_map(|series| &series.points);
    all().next()?;
    let ceiling = report.ceilings.read_bytes_per_s.map(|rate| rate * 1e-9);
    Some(Plot {
        title: "Weight bytes read per second, one token".into(),
        subtitle: format!("{}: cold weights, 2 bits each", report.machine.device),
        x: Axis::log2(
            "packed weights, MB",
            all().map(|p| p.x),
            powers_of_two(-6, 10),
        ),
        y: Axis::linear("GB/s", all().map(|p| p.y).chain(ceiling)),
        references: ceiling
            .map(|y| Reference {
                name: format!("read bandwidth, measured: {y:.0}"),
                y,
            })
            .into_iter()
            .collect(),
        series,
    })
}

fn points(rows: &[&Row], format: &str, activations: &str) -> Vec<Point> {
    let mut points: Vec<Point> = rows
        .iter()
        .filter(|row| row.format == format && row.activations == activations)
        .map(|row| {
            let y = row.weight_bytes_per_s * 1e-9;
            Point {
                x: (row.n * row.k) as f64 / 4.0 * 1e-6,
                y,
                tip: format!("{} × {}: {y:.0} GB/s, {:.2} µs", row.n, row.k, row.us),
            }
        })
        .collect();
    points.sort_by(|a, b| a.x.total_cmp(&b.x));
    points
}
