//! Help for this crate's tests.

use std::sync::{Mutex, MutexGuard, PoisonError};

static ALONE: Mutex<()> = Mutex::new(());

/// Held by every test that starts a process or writes a program.
///
/// A process that starts inherits, for a moment, the files that other threads have open. A program
/// being written by one test is then "busy" when its test wants to run it.
pub fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
