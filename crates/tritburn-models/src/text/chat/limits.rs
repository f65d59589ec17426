//! Templates come with models, from strangers: they may neither run for ever nor fill the memory.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, Value};

use super::super::TextError;

/// Instructions of one rendering. Long conversations take some ten thousand; this many run for about a
/// second.
const FUEL: u64 = 10_000_000;
/// Bytes that the plain text between two tags may make in one rendering, an instruction at a time.
const PLAIN: u64 = 1 << 30;
/// Seconds of one rendering: single instructions may take long.
const SECONDS: u64 = 5;
/// Bytes of a string that is set, and of a prompt.
pub(super) const MAX_TEXT: usize = 64 << 20;
/// Bytes of all values that one rendering prints, into the prompt or into other values.
const MAX_PRINTED: usize = 4 * MAX_TEXT;
/// Elements of a list that is set, with those of the lists in it.
const MAX_LIST: usize = 1 << 20;
/// Lists in lists: what prints or drops them calls itself for each.
const MAX_DEPTH: usize = 64;
/// Macros in macros.
const MAX_CALLS: usize = 100;
/// What deeply nested templates and values need.
const STACK: usize = 64 << 20;

/// Name of the filter that values pass when they are set.
pub(super) const BOUNDED: &str = "__bounded";

/// Gives the environment of a template its limits.
pub(super) fn set(environment: &mut Environment, template: &str) {
    let plain = template.split("%}").flat_map(|part| part.split("}}"));
    let longest = plain.map(str::len).max().unwrap_or(0).max(1) as u64;
    environment.set_fuel(Some(FUEL.min(PLAIN / longest)));
    environment.set_recursion_limit(MAX_CALLS);
    environment.set_formatter(|out, _, value| Ok(write!(Printed(out), "{value}")?));
    environment.add_filter(BOUNDED, bounded);
}

/// The value, unless it has grown too large: what loops make large is set in each round.
fn bounded(value: Value) -> Result<Value, Error> {
    check(&value)?;
    Ok(value)
}

/// Refuses a value that has grown too large.
pub(super) fn check(value: &Value) -> Result<(), Error> {
    go_on()?;
    weigh(value, MAX_DEPTH, &mut (MAX_TEXT, MAX_LIST))
}

/// Takes what a value holds from the bytes and elements that are `left`.
fn weigh(value: &Value, depth: usize, left: &mut (usize, usize)) -> Result<(), Error> {
    let elements = match value.kind() {
        ValueKind::String => {
            let bytes = value.as_str().map_or(0, str::len);
            left.0 = left
                .0
                .checked_sub(bytes)
                .ok_or_else(|| too_large(MAX_TEXT, "bytes"))?;
            return Ok(());
        }
        ValueKind::Seq | ValueKind::Map => value.len().unwrap_or(0),
        // What is made on demand is not asked for its elements.
        ValueKind::Iterable => return within(value.len().unwrap_or(0), left),
        _ => return Ok(()),
    };
    within(elements, left)?;
    let deeper = depth
        .checked_sub(1)
        .ok_or_else(|| too_large(MAX_DEPTH, "lists in lists"))?;
    let is_map = value.kind() == ValueKind::Map;
    for element in value.try_iter()? {
        weigh(&element, deeper, left)?;
        if is_map {
            weigh(&value.get_item(&element)?, deeper, left)?;
        }
    }
    Ok(())
}

fn within(elements: usize, left: &mut (usize, usize)) -> Result<(), Error> {
    left.1 = left
        .1
        .checked_sub(elements)
        .ok_or_else(|| too_large(MAX_LIST, "elements"))?;
    Ok(())
}

pub(super) fn too_large(most: usize, of: &str) -> Error {
    let reason = format!("a value has at most {most} {of}");
    Error::new(ErrorKind::InvalidOperation, reason)
}

/// What the rendering of this thread may still do.
struct Rendering {
    printed: usize,
    stopped: Arc<AtomicBool>,
}

thread_local! {
    static RENDERING: RefCell<Rendering> = RefCell::new(Rendering {
        printed: MAX_PRINTED,
        stopped: Arc::default(),
    });
}

/// An error once nobody waits for the rendering any more.
fn go_on() -> Result<(), Error> {
    match RENDERING.with_borrow(|this| this.stopped.load(Ordering::Relaxed)) {
        false => Ok(()),
        true => Err(Error::new(ErrorKind::InvalidOperation, "it took too long")),
    }
}

/// Output that counts what is printed.
struct Printed<'a, W>(&'a mut W);

impl<W: fmt::Write> fmt::Write for Printed<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        go_on().map_err(|_| fmt::Error)?;
        RENDERING.with_borrow_mut(|this| {
            this.printed = this.printed.checked_sub(text.len()).ok_or(fmt::Error)?;
            self.0.write_str(text)
        })
    }
}

/// What `work` gives, or an error if that takes too long. It then goes on in its own thread until it sets
/// or prints a value.
pub(super) fn in_time<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TextError> + Send + 'static,
) -> Result<T, TextError> {
    let (sender, receiver) = sync_channel(1);
    let thread = thread::Builder::new().name("chat template".to_string());
    let stopped = Arc::<AtomicBool>::default();
    let stop = stopped.clone();
    let started = thread.stack_size(STACK).spawn(move || {
        RENDERING.with_borrow_mut(|this| this.stopped = stopped);
        // Nobody listens any more if it came too late.
        let _ = sender.send(work());
    });
    started.map_err(|source| TextError::Thread { source })?;
    match receiver.recv_timeout(Duration::from_secs(SECONDS)) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => {
            stop.store(true, Ordering::Relaxed);
            Err(TextError::TemplateTime { seconds: SECONDS })
        }
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
