//! The built program, run as a user runs it.

mod bad_input;
mod bench;
mod commands;
mod data;
mod distil;
mod resume;
