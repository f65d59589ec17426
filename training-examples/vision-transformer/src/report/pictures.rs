//! Some test images and what they were taken for.

use std::io::Cursor;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{ExtendedColorType, ImageFormat};
use svg::Document;
use svg::node::element::{Image, Rectangle, Text};
use tritburn_models::vision::VisionError;

use crate::data::{Dataset, Labels, Split};
use crate::error::Error;
use crate::evaluate::Answers;

const COLUMNS: usize = 8;
const ROWS: usize = 4;
const SIDE: f64 = 84.0;
const CELL: [f64; 2] = [100.0, 124.0];

/// Images spread evenly over the test set: what they were taken for, and what they are where that is wrong.
pub(super) fn draw(data: &Dataset, answers: &Answers) -> Result<Document, Error> {
    let (width, height) = (CELL[0] * COLUMNS as f64, CELL[1] * ROWS as f64);
    let background = Rectangle::new()
        .set("width", width)
        .set("height", height)
        .set("fill", "#ffffff");
    let mut document = Document::new()
        .set("viewBox", (0.0, 0.0, width, height))
        .set("font-family", "sans-serif")
        .set("font-size", 12)
        .add(background);
    let guesses = answers.guesses();
    let shown = (COLUMNS * ROWS).min(data.test.len());
    for number in 0..shown {
        let index = number * data.test.len() / shown;
        let (x, y) = (
            CELL[0] * (number % COLUMNS) as f64 + 8.0,
            CELL[1] * (number / COLUMNS) as f64 + 8.0,
        );
        let picture = Image::new()
            .set("x", x)
            .set("y", y)
            .set("width", SIDE)
            .set("height", SIDE)
            .set("style", "image-rendering: pixelated")
            .set("href", png(&data.test, index)?);
        let guess = &data.classes[guesses[index]];
        let truth = match &data.test.labels {
            Labels::Single(labels) if labels[index] as usize != guesses[index] => {
                Some(&data.classes[labels[index] as usize])
            }
            _ => None,
        };
        let colour = if truth.is_some() {
            "#cf222e"
        } else {
            "#24292f"
        };
        let line = |text: &str, below: f64, colour: &str| {
            Text::new(text)
                .set("x", x + SIDE / 2.0)
                .set("y", y + SIDE + below)
                .set("text-anchor", "middle")
                .set("fill", colour.to_string())
        };
        document = document.add(picture).add(line(guess, 14.0, colour));
        if let Some(truth) = truth {
            document = document.add(line(&format!("is {truth}"), 28.0, "#57606a"));
        }
    }
    Ok(document)
}

/// An image as a link that holds it.
fn png(split: &Split, index: usize) -> Result<String, Error> {
    let raw = &split.images;
    let colour = match raw.channels {
        1 => ExtendedColorType::L8,
        _ => ExtendedColorType::Rgb8,
    };
    let mut bytes = Cursor::new(Vec::new());
    let side = raw.size as u32;
    let written = image::write_buffer_with_format(
        &mut bytes,
        raw.image(index),
        side,
        side,
        colour,
        ImageFormat::Png,
    );
    written.map_err(|error| VisionError::Device {
        reason: error.to_string(),
    })?;
    Ok(format!(
        "data:image/png;base64,{}",
        STANDARD.encode(bytes.into_inner())
    ))
}
