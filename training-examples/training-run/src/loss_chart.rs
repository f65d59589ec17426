//! `losses.svg`: the losses of a training as a picture.

use std::fs;
use std::path::Path;

use svg::Document;
use svg::node::element::{Line, Polyline, Rectangle, Text};

use crate::error::{RunError, write_atomic};
use crate::step_log::StepRecord;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
/// Left, top, right and bottom of the plot.
const PLOT: [f64; 4] = [64.0, 24.0, 700.0, 316.0];
/// Points of the curve at most: each is the mean of the steps that it stands for.
const POINTS: usize = 400;
const RULES: usize = 5;

/// Draws the losses of `losses`, a `losses.jsonl`, to `to`; `unit` is what they are measured in.
///
/// # Errors
/// [`RunError`] if a file cannot be read or written, or a line is none.
pub fn draw(losses: &Path, to: &Path, unit: &str) -> Result<(), RunError> {
    let text = fs::read_to_string(losses).map_err(RunError::read(losses))?;
    let records: Result<Vec<StepRecord>, _> = text.lines().map(serde_json::from_str).collect();
    let records = records.map_err(|error| RunError::read(losses)(error.into()))?;
    write_atomic(to, chart(&records, unit).to_string().as_bytes())
}

fn chart(records: &[StepRecord], unit: &str) -> Document {
    let points = means(records);
    let background = Rectangle::new()
        .set("width", WIDTH)
        .set("height", HEIGHT)
        .set("fill", "#ffffff");
    let document = Document::new()
        .set("viewBox", (0.0, 0.0, WIDTH, HEIGHT))
        .set("font-family", "sans-serif")
        .set("font-size", 12)
        .set("fill", "#24292f")
        .add(background);
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return document;
    };
    let [left, top, right, bottom] = PLOT;
    let losses = || points.iter().map(|point| point.1);
    let (low, high) = (
        losses().fold(f64::INFINITY, f64::min),
        losses().fold(f64::NEG_INFINITY, f64::max),
    );
    let part = |value: f64, from: f64, to: f64| match to > from {
        true => (value - from) / (to - from),
        false => 0.5,
    };
    let x = |step: f64| left + (right - left) * part(step, first.0, last.0);
    let y = |loss: f64| bottom - (bottom - top) * part(loss, low, high);
    let mut document = document;
    for rule in 0..RULES {
        let at = rule as f64 / (RULES - 1) as f64;
        let (loss, step) = (low + at * (high - low), first.0 + at * (last.0 - first.0));
        let line = Line::new()
            .set("x1", left)
            .set("x2", right)
            .set("y1", y(loss))
            .set("y2", y(loss))
            .set("stroke", "#d0d7de");
        document = document
            .add(line)
            .add(label(
                format!("{loss:.3}"),
                left - 8.0,
                y(loss) + 4.0,
                "end",
            ))
            .add(label(
                format!("{step:.0}"),
                x(step),
                bottom + 18.0,
                "middle",
            ));
    }
    let curve: Vec<String> = points
        .iter()
        .map(|(step, loss)| format!("{:.1},{:.1}", x(*step), y(*loss)))
        .collect();
    let curve = Polyline::new()
        .set("points", curve.join(" "))
        .set("fill", "none")
        .set("stroke", "#0969da")
        .set("stroke-width", 2);
    document
        .add(curve)
        .add(label(unit.into(), left, top - 8.0, "start"))
        .add(label("step".into(), right, bottom + 36.0, "end"))
}

fn label(text: String, x: f64, y: f64, anchor: &str) -> Text {
    Text::new(text)
        .set("x", x)
        .set("y", y)
        .set("text-anchor", anchor)
}

/// Mean step and mean loss of stretches of equal length.
fn means(records: &[StepRecord]) -> Vec<(f64, f64)> {
    let length = records.len().div_ceil(POINTS).max(1);
    let mean = |stretch: &[StepRecord]| {
        let of = |value: fn(&StepRecord) -> f64| {
            stretch.iter().map(value).sum::<f64>() / stretch.len() as f64
        };
        (of(|record| record.step as f64), of(|record| record.loss))
    };
    records.chunks(length).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(count: usize) -> Vec<StepRecord> {
        (1..=count)
            .map(|step| StepRecord {
                step,
                loss: 8.0 / step as f64,
                learning_rate: 1e-3,
            })
            .collect()
    }

    #[test]
    fn many_steps_become_means_that_keep_the_mean_of_all() {
        let points = means(&records(1000));
        assert_eq!(points.len(), 334);
        assert_eq!(points[0], (2.0, (8.0 + 4.0 + 8.0 / 3.0) / 3.0));
        assert_eq!(means(&records(3)).len(), 3);
    }

    #[test]
    fn the_curve_runs_from_the_highest_loss_to_the_lowest() {
        let text = chart(&records(2), "nats").to_string();
        assert!(text.contains("points=\"64.0,24.0 700.0,316.0\""), "{text}");
        assert!(text.contains("8.000") && text.contains("4.000"), "{text}");
        // One step, and none, are no division by zero.
        assert!(!chart(&records(1), "nats").to_string().contains("NaN"));
        assert!(!chart(&[], "nats").to_string().contains("polyline"));
    }
}
