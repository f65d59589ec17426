//! Trains a small 1.58-bit language model on text, packs it to 2 bits a weight and writes with it.
//!
//! A program to copy from. The model is in [`model`], its training in [`train`]; of tritburn it uses
//! `BitLinear` (in [`model::Projection`]), `pack`, and the model files of `tritburn::store`.

pub mod cli;
pub mod commands;
pub mod data;

pub mod error;
pub mod evaluate;
pub mod generate;
mod hash;
pub mod model;
pub mod report;
pub mod train;

/// The example of the repository's README, compiled and run as a documentation test: here, because the
/// published packages do not hold that file.
#[cfg(all(doctest, feature = "flex"))]
#[doc = include_str!("../../../README.md")]
struct Readme;
