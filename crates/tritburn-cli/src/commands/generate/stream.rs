//! New tokens on the standard output, as they come.

use std::io::{Write, stdout};
use std::ops::ControlFlow;

use anyhow::Result;
use tritburn_models::text::{StreamDecoder, Tokenizer};

/// Prints tokens as text, as ids, or not at all.
pub enum Printer<'a> {
    Silent,
    Ids { first: bool },
    Text(StreamDecoder<'a>),
}

impl<'a> Printer<'a> {
    pub fn silent() -> Self {
        Self::Silent
    }

    pub fn ids() -> Self {
        Self::Ids { first: true }
    }

    pub fn text(tokenizer: &'a Tokenizer) -> Self {
        Self::Text(tokenizer.stream())
    }

    pub fn push(&mut self, id: u32) -> Result<()> {
        match self {
            Self::Silent => Ok(()),
            Self::Ids { first } => {
                let comma = if std::mem::take(first) { "" } else { "," };
                print(&format!("{comma}{id}"))
            }
            Self::Text(decoder) => match decoder.push(id)? {
                Some(text) => print(&text),
                None => Ok(()),
            },
        }
    }

    /// Prints what was held back, and ends the line.
    pub fn finish(self) -> Result<()> {
        match self {
            Self::Silent => Ok(()),
            Self::Ids { .. } => print("\n"),
            Self::Text(decoder) => print(&format!("{}\n", decoder.finish()?.unwrap_or_default())),
        }
    }
}

/// Goes on unless printing has failed.
pub fn flow(printed: &Result<()>) -> ControlFlow<()> {
    match printed {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    }
}

fn print(text: &str) -> Result<()> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
