//! What the command says beside its results.

use std::fmt::Arguments;
use std::io::{Write, stderr};

/// A line on the standard error, for whoever still reads it.
pub fn line(line: Arguments<'_>) {
    let _ = writeln!(stderr(), "{line}");
}

/// As `eprintln!`, but a reader that has gone is no reason to fail.
macro_rules! say {
    ($($line:tt)*) => {
        $crate::say::line(format_args!($($line)*))
    };
}

pub(crate) use say;

/// A name from a file, as it may stand on a terminal: control characters are escaped.
pub fn plain(name: &str) -> String {
    let escaped = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    name.chars().map(escaped).collect()
}

/// Bytes in the unit that sizes are told in.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1 << 20) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_of_names_are_escaped() {
        assert_eq!(plain("a\u{1b}[31m\nß"), "a\\u{1b}[31m\\nß");
    }
}
