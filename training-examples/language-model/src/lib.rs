//! Trains a small 1.58-bit language model on text, packs it to 2 bits a weight and writes with it.
//!
//! A program to copy from. The model is the trainable decoder of `tritburn-models`, sized in [`model`];
//! its training is in [`train`]. What is left of a training is a folder that `tritburn generate`,
//! `convert` and `inspect` take.

pub mod cli;
pub mod commands;
pub mod data;
pub mod error;
pub mod evaluate;
pub mod generate;
pub mod model;
pub mod report;
pub mod train;

pub use training_run::logging;
pub(crate) use training_run::{atomic, hash};

/// The example of the repository's README, compiled and run as a documentation test: here, because the
/// published packages do not hold that file.
#[cfg(all(doctest, feature = "flex"))]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// What tests of the program's own logic run on: a device without kernels to compile, where this build has
/// it.
#[cfg(test)]
pub(crate) fn test_device() -> burn::tensor::Device {
    #[cfg(feature = "flex")]
    {
        burn::tensor::Device::flex()
    }
    #[cfg(not(feature = "flex"))]
    burn::tensor::Device::default()
}
