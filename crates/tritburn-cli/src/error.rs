//! Errors on their way to the user.

use std::io;
use std::path::Path;

/// Whether the reader of the output has gone, which is its right.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// The error and its causes, each said once: some repeat what they come from.
pub fn message(error: &anyhow::Error) -> String {
    let mut message = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if cause.is_empty() || message.contains(&cause) {
            continue;
        }
        if !message.is_empty() {
            message += ": ";
        }
        message += &cause;
    }
    message
}

/// What cannot be done with a path, which is told once.
pub fn cannot(what: &str, path: &Path, error: impl Into<anyhow::Error>) -> anyhow::Error {
    let error = error.into();
    let path = path.display().to_string();
    match message(&error).contains(&path) {
        true => error.context(format!("cannot {what}")),
        false => error.context(format!("cannot {what} {path}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn a_cause_that_was_said_is_not_said_again() {
        let error = anyhow!("no such file")
            .context("/nowhere: no such file")
            .context("cannot open");
        assert_eq!(message(&error), "cannot open: /nowhere: no such file");
    }
}
