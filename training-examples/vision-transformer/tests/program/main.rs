//! The built program, run as a user runs it.

mod bad_input;
mod bench;
mod commands;
mod data;
mod distil;
#[path = "../../../training-run/tests/support/process.rs"]
mod process;
mod resume;
