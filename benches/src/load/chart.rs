//! What users wait for, by load.

use super::report::{Level, Quantiles, Report};
use crate::chart::{Axis, COLOURS, Plot, Point, Series, powers_of_two};

/// The chart, or `None` for fewer than two levels with answers.
pub fn draw(report: &Report) -> Option<Plot> {
    let levels: Vec<&Level> = report
        .levels
        .iter()
        .filter(|level| level.answered > 0)
        .collect();
    if levels.len() < 2 {
        return None;
    }
    type Time = fn(&Quantiles) -> f64;
    type Of = fn(&Level) -> Quantiles;
    let first: Of = |level| level.first_token_ms;
    let between: Of = |level| level.between_tokens_ms;
    let (p50, p99): (Time, Time) = (|times| times.p50, |times| times.p99);
    let kinds = [
        ("first token, p50", first, p50, 0, false),
        ("first token, p99", first, p99, 0, true),
        ("between tokens, p50", between, p50, 1, false),
        ("between tokens, p99", between, p99, 1, true),
    ];
    let series: Vec<Series> = kinds
        .into_iter()
        .map(|(name, of, time, colour, dashed)| Series {
            name: name.into(),
            colour: COLOURS[colour],
            joined: true,
            dashed,
            points: levels
                .iter()
                .map(|level| Point {
                    x: level.load(),
                    y: time(&of(level)).max(1e-3),
                    tip: format!(
                        "{name}: {:.1} ms at {:.0} tokens/s",
                        time(&of(level)),
                        level.output_tokens_per_s
                    ),
                })
                .collect(),
        })
        .collect();
    let x = series[0].points.iter().map(|point| point.x);
    let y = series
        .iter()
        .flat_map(|series| series.points.iter().map(|point| point.y));
    let title = match levels[0].clients {
        Some(_) => "clients",
        None => "requests a second",
    };
    Some(Plot {
        title: format!("{}: what users wait for", report.model),
        subtitle: format!(
            "prompts of {} tokens, answers of {}, {}",
            report.prompt_tokens, report.output_tokens, report.date
        ),
        x: Axis::log2(title, x, powers_of_two(-4, 12)),
        y: Axis::log2("milliseconds", y, powers_of_two(-4, 20)),
        series,
        references: Vec::new(),
    })
}
