//! Counts over packed codes on the device, which a training run reports from time to time.

mod launch;

pub use launch::compare_codes;
