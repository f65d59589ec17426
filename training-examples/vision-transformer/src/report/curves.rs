//! Losses and accuracy of a training as a picture.

use svg::Document;
use svg::node::element::{Line, Polyline, Rectangle, Text};

use crate::train::EpochRecord;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
/// Left, top, right and bottom of the plot.
const PLOT: [f64; 4] = [64.0, 32.0, 650.0, 316.0];
/// Points of the loss at most: each is the mean of the steps that it stands for.
const POINTS: usize = 300;
const RULES: usize = 5;

const COLOURS: [(&str, &str); 3] = [
    ("loss of a step", "#8c959f"),
    ("held-out loss", "#0969da"),
    ("held-out accuracy (right)", "#1a7f37"),
];

/// Losses by step on the left scale, the accuracy of held-out images on the right one.
pub(super) fn draw(steps: &[(f64, f64)], epochs: &[EpochRecord]) -> Document {
    let length = steps.len().div_ceil(POINTS).max(1);
    let mean = |part: &[(f64, f64)]| {
        let sum = part
            .iter()
            .fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (sum.0 / part.len() as f64, sum.1 / part.len() as f64)
    };
    let losses: Vec<_> = steps.chunks(length).map(mean).collect();
    let of = |value: fn(&EpochRecord) -> f64| {
        let points = epochs
            .iter()
            .map(move |record| (record.step as f64, value(record)));
        points.collect::<Vec<_>>()
    };
    let (held_out, accuracy) = (of(|record| record.loss), of(|record| record.accuracy));
    let last = steps.last().map_or(1.0, |step| step.0);
    let all = || losses.iter().chain(&held_out).map(|point| point.1);
    let high = all().filter(|loss| loss.is_finite()).fold(1e-9, f64::max);
    let best = accuracy.iter().map(|point| point.1);
    let low_share = best.fold(1.0, f64::min).clamp(0.0, 0.9);
    let low_share = (low_share * 10.0).floor() / 10.0;

    let [left, top, right, bottom] = PLOT;
    let background = Rectangle::new()
        .set("width", WIDTH)
        .set("height", HEIGHT)
        .set("fill", "#ffffff");
    let mut document = Document::new()
        .set("viewBox", (0.0, 0.0, WIDTH, HEIGHT))
        .set("font-family", "sans-serif")
        .set("font-size", 12)
        .set("fill", "#24292f")
        .add(background);
    for rule in 0..RULES {
        let at = rule as f64 / (RULES - 1) as f64;
        let y = bottom - (bottom - top) * at;
        let line = Line::new()
            .set("x1", left)
            .set("x2", right)
            .set("y1", y)
            .set("y2", y)
            .set("stroke", "#d0d7de");
        let share = 100.0 * (low_share + at * (1.0 - low_share));
        document = document
            .add(line)
            .add(label(
                format!("{:.2}", at * high),
                left - 8.0,
                y + 4.0,
                "end",
            ))
            .add(label(
                format!("{share:.0} %"),
                right + 8.0,
                y + 4.0,
                "start",
            ))
            .add(label(
                format!("{:.0}", at * last),
                left + (right - left) * at,
                bottom + 18.0,
                "middle",
            ));
    }
    let scales: [&dyn Fn(f64) -> f64; 3] = [&|loss| loss / high, &|loss| loss / high, &|share| {
        (share - low_share) / (1.0 - low_share)
    }];
    for (number, (points, scale)) in [&losses, &held_out, &accuracy]
        .into_iter()
        .zip(scales)
        .enumerate()
    {
        let (name, colour) = COLOURS[number];
        let place = |(step, value): &(f64, f64)| {
            let x = left + (right - left) * step / last;
            let y = bottom - (bottom - top) * scale(*value).clamp(0.0, 1.0);
            format!("{x:.1},{y:.1}")
        };
        let curve: Vec<String> = points.iter().map(place).collect();
        let curve = Polyline::new()
            .set("points", curve.join(" "))
            .set("fill", "none")
            .set("stroke", colour)
            .set("stroke-width", 2);
        let name = label(
            name.into(),
            left + 200.0 * number as f64,
            top - 12.0,
            "start",
        );
        document = document.add(curve).add(name.set("fill", colour));
    }
    document.add(label("step".into(), right, bottom + 36.0, "end"))
}

fn label(text: String, x: f64, y: f64, anchor: &str) -> Text {
    Text::new(text)
        .set("x", x)
        .set("y", y)
        .set("text-anchor", anchor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curves_run_over_the_whole_plot_and_nothing_is_no_number() {
        let epochs = [(1, 0.5), (2, 1.0)].map(|(step, accuracy)| EpochRecord {
            step,
            loss: 1.0,
            accuracy,
        });
        let text = draw(&[(1.0, 2.0), (2.0, 0.0)], &epochs).to_string();
        assert!(text.contains("points=\"357.0,32.0 650.0,316.0\""), "{text}");
        assert!(text.contains("points=\"357.0,316.0 650.0,32.0\""), "{text}");
        assert!(!draw(&[], &[]).to_string().contains("NaN"));
    }
}
