//! Operations a second by tokens, against cuBLAS and the tensor cores' peak.

use super::axis::{Axis, powers_of_two};
use super::plot::{COLOURS, Plot, Point, Reference, Series};
use crate::report::Report;
use crate::row::Row;

/// The chart for the shape with the most numbers of tokens, or `None` without products.
pub fn draw(report: &Report) -> Option<Plot> {
    let rows = report.rows.iter();
    let rows: Vec<&Row> = rows
        .filter(|row| row.op == "matmul" && row.format == "ternary")
        .collect();
    let (n, k) = *shapes(&rows).first()?;
    let rows: Vec<&Row> = rows
        .into_iter()
        .filter(|row| (row.n, row.k) == (n, k))
        .collect();
    let mut series = Vec::new();
    for (activations, name) in [
        ("int8", "tritburn W2A8"),
        ("int8+quant", "tritburn W2A8 + quantiser"),
        ("bf16", "tritburn W2A16 bf16"),
        ("f32", "tritburn W2A16 f32"),
    ] {
        let kind = rows.iter().filter(|row| row.activations == activations);
        add(
            &mut series,
            name,
            false,
            kind.map(|row| (row.m, row.us)),
            [n, k],
        );
    }
    for (peer, name) in [
        ("cublas_int8", "cuBLASLt int8"),
        ("cublas_bf16", "cuBLAS bf16"),
        ("burn_dense_bf16", "Burn bf16"),
        ("burn_dense_f32", "Burn f32"),
        ("burn_q2s", "Burn Q2S"),
    ] {
        let times = rows
            .iter()
            .filter_map(|row| Some((row.m, *row.peers_us.get(peer)?)));
        add(&mut series, name, true, times, [n, k]);
    }
    let all = || series.iter().flat_map(|series: &Series| &series.points);
    all().next()?;
    let ceilings = &report.ceilings;
    let references: Vec<Reference> = [
        ("int8 peak", ceilings.int8_tops),
        ("bf16 peak", ceilings.bf16_tops),
    ]
    .into_iter()
    .filter_map(|(name, y)| {
        let name = format!("{name}: {:.0}", y?);
        Some(Reference { name, y: y? })
    })
    .collect();
    Some(Plot {
        title: format!("Operations per second, {n} × {k}"),
        subtitle: format!(
            "{}: cold weights; peaks are the vendor's, dense",
            report.machine.device
        ),
        x: Axis::log2("tokens", all().map(|p| p.x), powers_of_two(0, 14)),
        y: Axis::log2(
            "TOPS",
            all().map(|p| p.y).chain(references.iter().map(|r| r.y)),
            [-3, -2, -1, 0, 1, 2, 3]
                .map(|power| 10f64.powi(power))
                .into_iter()
                .flat_map(|power| [power, 3.0 * power])
                .collect(),
        ),
        series,
        references,
    })
}

/// Shapes of `rows`, the one with the most rows first, large ones before small ones.
pub fn shapes(rows: &[&Row]) -> Vec<(usize, usize)> {
    let mut shapes: Vec<(usize, usize)> = rows.iter().map(|row| (row.n, row.k)).collect();
    shapes.sort_unstable();
    shapes.dedup();
    let tokens = |shape: &(usize, usize)| {
        let mut tokens: Vec<usize> = rows
            .iter()
            .filter(|row| (row.n, row.k) == *shape)
            .map(|row| row.m)
            .collect();
        tokens.sort_unstable();
        tokens.dedup();
        tokens.len()
    };
    shapes.sort_by_key(|shape| std::cmp::Reverse((tokens(shape), shape.0 * shape.1)));
    shapes
}

fn add(
    series: &mut Vec<Series>,
    name: &str,
    dashed: bool,
    times: impl Iterator<Item = (usize, f64)>,
    [n, k]: [usize; 2],
) {
    let mut times: Vec<(usize, f64)> = times.collect();
    times.sort_by_key(|(m, _)| *m);
    times.dedup_by_key(|(m, _)| *m);
    let points: Vec<Point> = times
        .into_iter()
        .map(|(m, us)| {
            let y = 2.0 * (m * n * k) as f64 / us * 1e-6;
            Point {
                x: m as f64,
                y,
                tip: format!("{name}, {m} tokens: {y:.1} TOPS, {us:.2} µs"),
            }
        })
        .collect();
    if !points.is_empty() {
        series.push(Series {
            name: name.into(),
            colour: COLOURS[series.len() % COLOURS.len()],
            joined: true,
            dashed,
            points,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Name;
    use crate::report::Ceilings;
    use crate::row::tests::row;

    #[test]
    fn the_shape_with_most_tokens_is_drawn_with_its_peers() {
        let rows = vec![row(1, 64, 9.0), row(1, 128, 9.0), row(32, 128, 12.0)];
        let report = Report::new(Name::Flex, Ceilings::default(), None, rows);
        let plot = draw(&report).unwrap();
        assert!(plot.title.contains("128 × 1000"));
        let names: Vec<_> = plot.series.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["tritburn W2A8", "cuBLAS bf16", "Burn bf16"]);
        assert_eq!(plot.series[0].points.len(), 2);
        let ours = 2.0 * 32.0 * 128.0 * 1000.0 / 12.0 * 1e-6;
        assert!((plot.series[0].points[1].y - ours).abs() < 1e-12);
    }
}
