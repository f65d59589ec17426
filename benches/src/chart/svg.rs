//! Elements of an SVG document.

use std::fmt::Write;

/// A document under construction.
pub struct Svg {
    width: f64,
    height: f64,
    body: String,
}

/// Where a text stands relative to its point.
#[derive(Clone, Copy)]
pub enum Anchor {
    /// It starts there.
    Start,
    /// Its middle is there.
    Middle,
    /// It ends there.
    End,
}

impl Svg {
    /// An empty document with a white ground, readable on light and dark pages.
    pub fn new(width: f64, height: f64) -> Self {
        let mut svg = Self {
            width,
            height,
            body: String::new(),
        };
        svg.push(format_args!(
            r##"<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>"##
        ));
        svg
    }

    fn push(&mut self, element: std::fmt::Arguments) {
        // Writing to a string does not fail.
        let _ = writeln!(self.body, "{element}");
    }

    /// A straight line; `dash` as in `stroke-dasharray`, empty for none.
    pub fn line(&mut self, from: [f64; 2], to: [f64; 2], colour: &str, width: f64, dash: &str) {
        let ([x1, y1], [x2, y2]) = (from, to);
        self.push(format_args!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{colour}" stroke-width="{width}" stroke-dasharray="{dash}"/>"#
        ));
    }

    /// A line through points.
    pub fn polyline(&mut self, points: &[[f64; 2]], colour: &str, dash: &str) {
        let points: Vec<String> = points
            .iter()
            .map(|[x, y]| format!("{x:.1},{y:.1}"))
            .collect();
        let points = points.join(" ");
        self.push(format_args!(
            r#"<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.2" stroke-linejoin="round" stroke-dasharray="{dash}"/>"#
        ));
    }

    /// A dot with a tooltip.
    pub fn dot(&mut self, [x, y]: [f64; 2], colour: &str, tip: &str) {
        let tip = escape(tip);
        self.push(format_args!(
            r##"<circle cx="{x:.1}" cy="{y:.1}" r="4" fill="{colour}" stroke="#ffffff" stroke-width="1"><title>{tip}</title></circle>"##
        ));
    }

    /// A text; `size` in pixels, `style` further attributes.
    pub fn text(&mut self, [x, y]: [f64; 2], anchor: Anchor, size: f64, style: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escape(text);
        self.push(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-size="{size}" {style}>{text}</text>"#
        ));
    }

    /// The finished document.
    pub fn finish(self) -> String {
        let Self {
            width,
            height,
            body,
        } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"system-ui, -apple-system, 'Segoe UI', \
             Helvetica, Arial, sans-serif\" fill=\"#24292f\">\n{body}</svg>\n"
        )
    }
}

/// Text with the characters that mean something in XML replaced.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_a_text_stays_text() {
        assert_eq!(
            escape("a<b> & \"c\"\u{7}'"),
            "a&lt;b&gt; &amp; &quot;c&quot;&apos;"
        );
        let mut svg = Svg::new(10.0, 20.0);
        svg.text([1.0, 2.0], Anchor::Middle, 9.0, "", "</text><script>");
        let text = svg.finish();
        assert!(!text.contains("<script>"));
        assert_eq!(text.matches("</text>").count(), 1);
    }

    #[test]
    fn every_element_is_closed() {
        let mut svg = Svg::new(10.0, 20.0);
        svg.line([0.0; 2], [1.0; 2], "red", 1.0, "");
        svg.polyline(&[[0.0, 0.0], [1.0, 2.0]], "red", "2 2");
        svg.dot([1.0, 1.0], "red", "tip");
        let text = svg.finish();
        for line in text
            .lines()
            .filter(|line| line.starts_with('<') && !line.contains("svg"))
        {
            assert!(
                line.ends_with("/>") || line.ends_with("</circle>"),
                "{line}"
            );
        }
    }
}
