//! Products of a few tokens. [`portable`] runs on every device.

pub mod portable;
