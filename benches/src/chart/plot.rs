//! A chart: a frame with axes, lines through measured points, reference lines and a legend.

use super::axis::{Axis, label};
use super::svg::{Anchor, Svg};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 460.0;
/// Left, top, right, bottom.
const MARGINS: [f64; 4] = [76.0, 72.0, 236.0, 58.0];
const GREY: &str = "#8c959f";
const GRID: &str = "#e6e9ed";
/// Okabe and Ito's colours, told apart with any kind of colour vision.
pub const COLOURS: [&str; 8] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8a6d00",
];

/// One measured point.
pub struct Point {
    /// Value on the x axis.
    pub x: f64,
    /// Value on the y axis.
    pub y: f64,
    /// What it is, shown on hover.
    pub tip: String,
}

/// Points of one kind.
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Its colour.
    pub colour: &'static str,
    /// Whether a line runs through the points.
    pub joined: bool,
    /// Whether that line is dashed.
    pub dashed: bool,
    /// The points, x ascending.
    pub points: Vec<Point>,
}

/// A horizontal line to compare with.
pub struct Reference {
    /// What it stands for.
    pub name: String,
    /// Its height.
    pub y: f64,
}

/// A chart.
pub struct Plot {
    /// What it shows.
    pub title: String,
    /// The conditions.
    pub subtitle: String,
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
    /// What was measured.
    pub series: Vec<Series>,
    /// What it is compared with.
    pub references: Vec<Reference>,
}

impl Plot {
    /// The chart as a document.
    pub fn svg(&self) -> String {
        let mut svg = Svg::new(WIDTH, HEIGHT);
        let [left, ..] = MARGINS;
        svg.text(
            [left, 30.0],
            Anchor::Start,
            18.0,
            r#"font-weight="600""#,
            &self.title,
        );
        svg.text(
            [left, 51.0],
            Anchor::Start,
            12.5,
            r##"fill="#57606a""##,
            &self.subtitle,
        );
        self.frame(&mut svg);
        for reference in &self.references {
            self.reference(&mut svg, reference);
        }
        for series in &self.series {
            let points: Vec<[f64; 2]> =
                series.points.iter().map(|p| self.place(p.x, p.y)).collect();
            if series.joined {
                let dash = if series.dashed { "6 4" } else { "" };
                svg.polyline(&points, series.colour, dash);
            }
            for (point, at) in series.points.iter().zip(points) {
                svg.dot(at, series.colour, &point.tip);
            }
        }
        self.legend(&mut svg);
        svg.finish()
    }

    fn place(&self, x: f64, y: f64) -> [f64; 2] {
        let [left, top, right, bottom] = MARGINS;
        let (width, height) = (WIDTH - left - right, HEIGHT - top - bottom);
        [
            left + width * self.x.at(x),
            top + height * (1.0 - self.y.at(y)),
        ]
    }

    fn frame(&self, svg: &mut Svg) {
        let ([x_low, x_high], [y_low, y_high]) = (self.x.range, self.y.range);
        for &tick in &self.y.ticks {
            let from = self.place(x_low, tick);
            svg.line(from, self.place(x_high, tick), GRID, 1.0, "");
            let at = [from[0] - 8.0, from[1] + 4.0];
            svg.text(at, Anchor::End, 12.0, "", &label(tick));
        }
        for &tick in &self.x.ticks {
            let from = self.place(tick, y_low);
            svg.line(from, self.place(tick, y_high), GRID, 1.0, "");
            let at = [from[0], from[1] + 18.0];
            svg.text(at, Anchor::Middle, 12.0, "", &label(tick));
        }
        let corner = self.place(x_low, y_low);
        svg.line(corner, self.place(x_high, y_low), GREY, 1.2, "");
        svg.line(corner, self.place(x_low, y_high), GREY, 1.2, "");
        let [left, top, right, bottom] = MARGINS;
        let middle = [(left + WIDTH - right) / 2.0, (top + HEIGHT - bottom) / 2.0];
        let below = [middle[0], HEIGHT - 16.0];
        svg.text(below, Anchor::Middle, 13.0, "", &self.x.title);
        let turned = format!(r#"transform="rotate(-90 22 {:.1})""#, middle[1]);
        svg.text(
            [22.0, middle[1]],
            Anchor::Middle,
            13.0,
            &turned,
            &self.y.title,
        );
    }

    fn reference(&self, svg: &mut Svg, reference: &Reference) {
        let ([x_low, x_high], y) = (self.x.range, reference.y);
        let end = self.place(x_high, y);
        svg.line(self.place(x_low, y), end, "#57606a", 1.5, "3 3");
        let at = [end[0] + 8.0, end[1] + 4.0];
        svg.text(
            at,
            Anchor::Start,
            11.5,
            r##"fill="#57606a""##,
            &reference.name,
        );
    }

    /// One entry a series, in the right margin, clear of the names of the reference lines.
    fn legend(&self, svg: &mut Svg) {
        let [_, top, right, bottom] = MARGINS;
        let x = WIDTH - right + 10.0;
        let taken: Vec<f64> = self
            .references
            .iter()
            .map(|reference| self.place(self.x.range[0], reference.y)[1])
            .collect();
        let mut y = top + 10.0;
        for series in &self.series {
            while taken.iter().any(|other| (other - y).abs() < 16.0) && y < HEIGHT - bottom {
                y += 4.0;
            }
            let dash = if series.dashed { "6 4" } else { "" };
            if series.joined {
                svg.line([x, y], [x + 24.0, y], series.colour, 2.2, dash);
            }
            svg.dot([x + 12.0, y], series.colour, &series.name);
            svg.text([x + 32.0, y + 4.0], Anchor::Start, 12.0, "", &series.name);
            y += 21.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::axis::powers_of_two;

    #[test]
    fn points_lie_inside_of_the_frame() {
        let points = [(1.0, 0.5), (4096.0, 8.0)];
        let plot = Plot {
            title: "t".into(),
            subtitle: "s".into(),
            x: Axis::log2("x", points.map(|p| p.0), powers_of_two(0, 14)),
            y: Axis::log2("y", points.map(|p| p.1), powers_of_two(-4, 6)),
            series: vec![Series {
                name: "a & b".into(),
                colour: COLOURS[0],
                joined: true,
                dashed: false,
                points: points
                    .map(|(x, y)| Point {
                        x,
                        y,
                        tip: "tip".into(),
                    })
                    .into(),
            }],
            references: vec![Reference {
                name: "dense".into(),
                y: 1.0,
            }],
        };
        for (x, y) in points {
            let [px, py] = plot.place(x, y);
            assert!((MARGINS[0]..WIDTH - MARGINS[2]).contains(&px));
            assert!((MARGINS[1]..HEIGHT - MARGINS[3]).contains(&py));
        }
        let svg = plot.svg();
        assert!(svg.contains("a &amp; b") && svg.contains("dense"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}
