//! Speed-up over the dense product, by tokens.

use super::axis::{Axis, powers_of_two};
use super::plot::{COLOURS, Plot, Point, Reference, Series};
use crate::report::Report;
use crate::row::Row;

/// Shapes with a line.
const LINES: usize = 7;

/// The chart, or `None` without a product that a dense one was measured for.
pub fn draw(report: &Report) -> Option<Plot> {
    let rows: Vec<&Row> = rows(report);
    let series: Vec<Series> = super::tops::shapes(&rows)
        .into_iter()
        .take(LINES)
        .zip(COLOURS)
        .map(|((n, k), colour)| Series {
            name: format!("{n} × {k}"),
            colour,
            joined: true,
            dashed: false,
            points: points(&rows, n, k),
        })
        .collect();
    let all = || series.iter().flat_map(|series| &series.points);
    all().next()?;
    Some(Plot {
        title: "Speed-up of ternary over dense products".into(),
        subtitle: format!(
            "{}: W2A8, activation quantisation included, against {}; cold weights, out × in",
            report.machine.device,
            dense_name(&rows)
        ),
        x: Axis::log2("tokens", all().map(|p| p.x), powers_of_two(0, 14)),
        y: Axis::log2(
            "times faster",
            all().map(|p| p.y).chain([1.0]),
            powers_of_two(-6, 10),
        ),
        references: vec![Reference {
            name: "dense".into(),
            y: 1.0,
        }],
        series,
    })
}

/// Products in ternary with the quantiser in the call, or layers where there are none.
fn rows(report: &Report) -> Vec<&Row> {
    let of = |op: &str| -> Vec<&Row> {
        let rows = report.rows.iter().filter(|row| {
            let kind = row.op == op && row.format == "ternary" && row.activations == "int8+quant";
            kind && row.dense_us().is_some()
        });
        rows.collect()
    };
    let products = of("matmul");
    if products.is_empty() {
        of("packed_linear")
    } else {
        products
    }
}

fn dense_name(rows: &[&Row]) -> &'static str {
    let has = |name: &str| rows.iter().any(|row| row.peers_us.contains_key(name));
    match () {
        () if has("cublas_bf16") => "cuBLAS bf16",
        () if has("burn_dense_bf16") => "Burn's bf16 product",
        () => "Burn's f32 product",
    }
}

fn points(rows: &[&Row], n: usize, k: usize) -> Vec<Point> {
    let mut points: Vec<Point> = rows
        .iter()
        .filter(|row| (row.n, row.k) == (n, k))
        .filter_map(|row| {
            let y = row.dense_us()? / row.us;
            Some(Point {
                x: row.m as f64,
                y,
                tip: format!(
                    "{} tokens, {n} × {k}: {y:.2} times, {:.2} µs",
                    row.m, row.us
                ),
            })
        })
        .collect();
    points.sort_by(|a, b| a.x.total_cmp(&b.x));
    points
}
