//! JSON as Python's `json.dumps` spells it, which models were trained on.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

/// Blanks behind commas and colons, on one line; or indented lines.
pub(super) fn python(
    value: &impl Serialize,
    indent: Option<usize>,
    out: &mut impl Write,
) -> serde_json::Result<()> {
    match indent {
        None => value.serialize(&mut Serializer::with_formatter(out, OneLine)),
        Some(width) => {
            let blanks = vec![b' '; width.min(64)];
            let formatter = PrettyFormatter::with_indent(&blanks);
            value.serialize(&mut Serializer::with_formatter(out, formatter))
        }
    }
}

struct OneLine;

impl Formatter for OneLine {
    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::python;

    #[test]
    fn blanks_stand_where_python_puts_them() {
        let value = serde_json::json!({ "a": [1, "<b> é"], "c": {} });
        let written = |indent| {
            let mut out = Vec::new();
            python(&value, indent, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(None), r#"{"a": [1, "<b> é"], "c": {}}"#);
        let lines = "{\n  \"a\": [\n    1,\n    \"<b> é\"\n  ],\n  \"c\": {}\n}";
        assert_eq!(written(Some(2)), lines);
    }
}
