//! Counts over packed codes, on the device: what a training run reports now and then.

mod launch;

pub use launch::compare_codes;
