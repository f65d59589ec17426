//! Trains a ternary vision transformer on images, distils it, packs it to 2 bits a weight and measures it.
//!
//! A program to copy from. The model is [`VisionTransformer`](tritburn_models::VisionTransformer) of
//! `tritburn-models`, sized in [`train::ModelConfig`]. What is left of a training is a folder that
//! `tritburn classify`, `convert` and `inspect` take.

pub mod cli;
pub mod commands;
pub mod data;
pub mod error;
pub mod evaluate;
pub mod report;
pub mod train;

pub use training_run::logging;
