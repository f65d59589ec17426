//! Tokens per second as bars.

use svg::Document;
use svg::node::element::{Rectangle, Text};

use super::report::{Phase, Report, Row};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 210.0;
const RIGHT: f64 = 90.0;
const TOP: f64 = 52.0;
const BAR: f64 = 20.0;
const STEP: f64 = 30.0;
const GAP: f64 = 34.0;

/// One group of bars for prompts and one for decoding, each on a scale of its own.
pub fn svg(report: &Report) -> String {
    let groups = [
        (Phase::Prompt, "prompt tokens/s", "#4c72b0"),
        (Phase::Decode, "decoded tokens/s", "#dd8452"),
    ];
    let groups = groups
        .map(|(phase, title, colour)| {
            let rows: Vec<&Row> = report.rows.iter().filter(|r| r.phase == phase).collect();
            (rows, title, colour)
        })
        .into_iter()
        .filter(|(rows, ..)| !rows.is_empty());
    let mut document = Document::new().set("font-family", "sans-serif");
    let mut shapes: Vec<Box<dyn svg::Node>> = vec![text(
        16.0,
        26.0,
        &format!("{} on {}", report.model, report.device),
        15.0,
    )];
    let mut y = TOP;
    for (rows, title, colour) in groups {
        shapes.push(text(16.0, y + 12.0, title, 13.0));
        y += GAP - 10.0;
        let most = rows.iter().map(|r| r.tokens_per_s).fold(1e-9, f64::max);
        for row in rows {
            let width = (WIDTH - LEFT - RIGHT) * row.tokens_per_s / most;
            shapes.push(text(16.0, y + 15.0, &row.label(), 12.0));
            let bar = Rectangle::new()
                .set("x", LEFT)
                .set("y", y)
                .set("width", width.max(1.0))
                .set("height", BAR)
                .set("fill", colour);
            shapes.push(Box::new(bar));
            let value = format!("{:.0}", row.tokens_per_s);
            shapes.push(text(LEFT + width + 6.0, y + 15.0, &value, 12.0));
            y += STEP;
        }
        y += GAP - 20.0;
    }
    let ground = Rectangle::new()
        .set("width", WIDTH)
        .set("height", y)
        .set("rx", 8)
        .set("fill", "#ffffff");
    document = document
        .set("viewBox", (0.0, 0.0, WIDTH, y))
        .set("width", WIDTH)
        .set("height", y)
        .add(ground);
    for shape in shapes {
        document = document.add(shape);
    }
    document.to_string()
}

fn text(x: f64, y: f64, content: &str, size: f64) -> Box<dyn svg::Node> {
    let text = Text::new(content)
        .set("x", x)
        .set("y", y)
        .set("font-size", size)
        .set("fill", "#222222");
    Box::new(text)
}
