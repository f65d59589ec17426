//! Templates come with models, from strangers: they may neither run for ever nor fill the memory.

use std::io::{self, Write};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, Value};

use super::super::TextError;

/// Instructions of one rendering. Long conversations take some ten thousand; this many run for about a
/// second.
const FUEL: u64 = 10_000_000;
/// Seconds of one rendering: single instructions may take long.
const SECONDS: u64 = 10;
/// Bytes of a string that is set, and of a prompt.
const MAX_TEXT: usize = 64 << 20;
/// Elements of a list that is set.
const MAX_LIST: usize = 1 << 20;
/// What deeply nested templates need, as much as a program's first thread has.
const STACK: usize = 8 << 20;

/// Name of the filter that values pass when they are set.
pub(super) const BOUNDED: &str = "__bounded";

/// Gives an environment its limits.
pub(super) fn set(environment: &mut Environment) {
    environment.set_fuel(Some(FUEL));
    environment.add_filter(BOUNDED, bounded);
}

/// The value, unless it has grown too large: what loops make large is set in each round.
fn bounded(value: Value) -> Result<Value, Error> {
    let (found, most) = match value.kind() {
        ValueKind::String => (value.as_str().map_or(0, str::len), MAX_TEXT),
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => {
            (value.len().unwrap_or(0), MAX_LIST)
        }
        _ => return Ok(value),
    };
    match found <= most {
        true => Ok(value),
        false => Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("a value of {found} elements, at most {most} are allowed"),
        )),
    }
}

/// What `work` gives, or an error if that takes too long. It then goes on in its own thread, as nothing
/// can stop it there, until the program ends.
pub(super) fn in_time<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TextError> + Send + 'static,
) -> Result<T, TextError> {
    let (sender, receiver) = sync_channel(1);
    let thread = thread::Builder::new().name("chat template".to_string());
    let started = thread.stack_size(STACK).spawn(move || {
        // Nobody listens any more if it came too late.
        let _ = sender.send(work());
    });
    started.map_err(|source| TextError::Thread { source })?;
    match receiver.recv_timeout(Duration::from_secs(SECONDS)) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => Err(TextError::TemplateTime { seconds: SECONDS }),
        Err(RecvTimeoutError::Disconnected) => Err(TextError::TemplateFailed),
    }
}

/// The text that is written to it, up to a limit.
#[derive(Default)]
pub(super) struct Text(pub Vec<u8>);

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_TEXT {
            let message = format!("the prompt has more than {MAX_TEXT} bytes");
            return Err(io::Error::other(message));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
