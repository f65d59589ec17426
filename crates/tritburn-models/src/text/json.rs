//! JSON as Python's `json.dumps` spells it, which models were trained on.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

/// Blanks behind commas and colons, on one line; or indented lines.
pub(super) fn python(value: &impl Serialize, indent: Option<usize>) -> serde_json::Result<String> {
    let mut out = Vec::new();
    match indent {
        None => value.serialize(&mut Serializer::with_formatter(&mut out, OneLine))?,
        Some(width) => {
            let blanks = vec![b' '; width.min(64)];
            let formatter = PrettyFormatter::with_indent(&blanks);
            value.serialize(&mut Serializer::with_formatter(&mut out, formatter))?;
        }
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
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
        assert_eq!(
            python(&value, None).unwrap(),
            r#"{"a": [1, "<b> é"], "c": {}}"#
        );
        let lines = "{\n  \"a\": [\n    1,\n    \"<b> é\"\n  ],\n  \"c\": {}\n}";
        assert_eq!(python(&value, Some(2)).unwrap(), lines);
    }
}
