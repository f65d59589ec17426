//! Products of many tokens. [`portable`] runs on every device.

pub mod portable;
