//! The built program, run as a user runs it.

mod bad_input;
mod bench;
mod commands;
mod finetune;
mod resume;
mod tokens;
