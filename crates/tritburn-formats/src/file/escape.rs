//! Text from files, made fit for a terminal.

use std::borrow::Cow;
use std::fmt::{self, Display, Write};
use std::path::Path;

/// `text` with control characters, and marks that turn the direction of writing, as `\u{..}` (or
/// `\n`, `\t`): names in a file may hold any, and a terminal would obey. Everything else, quotes and
/// backslashes included, stays. Errors of this crate are written so already.
///
/// # Examples
///
/// ```
/// use tritburn_formats::file::escaped;
///
/// assert_eq!(escaped("\u{1b}[31mred\n").to_string(), r"\u{1b}[31mred\n");
/// assert_eq!(escaped("blk.0 \"é\"").to_string(), "blk.0 \"é\"");
/// ```
pub fn escaped(text: &str) -> impl Display {
    Escaped(Cow::Borrowed(text))
}

/// A path, escaped.
pub(super) fn shown(path: &Path) -> impl Display {
    Escaped(path.to_string_lossy())
}

struct Escaped<'a>(Cow<'a, str>);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            match c.is_control() || turns {
                true => write!(f, "{}", c.escape_debug())?,
                false => f.write_char(c)?,
            }
        }
        Ok(())
    }
}
