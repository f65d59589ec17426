//! The confusion matrix as a picture.

use svg::Document;
use svg::node::element::{Group, Rectangle, Text};

const CELL: f64 = 40.0;
const LEFT: f64 = 120.0;
const TOP: f64 = 110.0;

/// Rows are what images are, columns what they were taken for.
pub(super) fn draw(table: &[Vec<u64>], names: &[String]) -> Document {
    let side = CELL * table.len() as f64;
    let (width, height) = (LEFT + side + 20.0, TOP + side + 20.0);
    let mut document = Document::new()
        .set("viewBox", (0.0, 0.0, width, height))
        .set("font-family", "sans-serif")
        .set("font-size", 12)
        .set("fill", "#24292f")
        .add(rectangle(0.0, 0.0, width, height, "#ffffff".into()));
    for (row, (counts, name)) in table.iter().zip(names).enumerate() {
        let y = TOP + CELL * row as f64;
        let all = counts.iter().sum::<u64>().max(1) as f64;
        document = document.add(label(name, LEFT - 8.0, y + CELL / 2.0 + 4.0, "end"));
        for (column, &count) in counts.iter().enumerate() {
            let x = LEFT + CELL * column as f64;
            let share = count as f64 / all;
            let hue = if row == column { 210 } else { 10 };
            let fill = format!("hsl({hue}, 80%, {:.0}%)", 100.0 - 50.0 * share.sqrt());
            document = document.add(rectangle(x, y, CELL - 1.0, CELL - 1.0, fill));
            if count > 0 {
                let text = label(
                    &count.to_string(),
                    x + CELL / 2.0,
                    y + CELL / 2.0 + 4.0,
                    "middle",
                );
                document = document.add(text);
            }
        }
    }
    for (column, name) in names.iter().enumerate() {
        let x = LEFT + CELL * (column as f64 + 0.5);
        let turned = Group::new()
            .set(
                "transform",
                format!("translate({x:.1} {:.1}) rotate(-45)", TOP - 8.0),
            )
            .add(label(name, 0.0, 0.0, "start"));
        document = document.add(turned);
    }
    document
}

fn rectangle(x: f64, y: f64, width: f64, height: f64, fill: String) -> Rectangle {
    Rectangle::new()
        .set("x", x)
        .set("y", y)
        .set("width", width)
        .set("height", height)
        .set("fill", fill)
}

fn label(text: &str, x: f64, y: f64, anchor: &str) -> Text {
    Text::new(text)
        .set("x", x)
        .set("y", y)
        .set("text-anchor", anchor)
}
