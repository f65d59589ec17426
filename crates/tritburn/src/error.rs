//! Errors of layers and their operations.

use burn::tensor::DType;
use thiserror::Error;
use tritburn_formats::{HeaderError, LayoutError};

/// What can go wrong when a layer is built, run, packed or converted.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// No packed matrix can have this shape or granularity.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A stored header cannot be read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The last axis of the input is not the layer's input size.
    #[error("input {shape:?} ends in {found}, the layer takes {expected} inputs")]
    InputFeatures {
        /// Shape of the input.
        shape: Vec<usize>,
        /// Its last axis.
        found: usize,
        /// `in_features` of the layer.
        expected: usize,
    },
    /// An operand has the wrong shape.
    #[error("{operand} has shape {found:?}, expected {expected:?}")]
    Shape {
        /// Which operand.
        operand: &'static str,
        /// Shape found.
        found: Vec<usize>,
        /// Shape expected.
        expected: Vec<usize>,
    },
    /// An operand has an element type that the operation does not take.
    #[error("{operand} has dtype {found:?}, expected {expected}")]
    DType {
        /// Which operand.
        operand: &'static str,
        /// Type found.
        found: DType,
        /// Types accepted.
        expected: &'static str,
    },
    /// Operands live on different devices.
    #[error("{operand} is on {found}, the input is on {expected}")]
    Device {
        /// Which operand.
        operand: &'static str,
        /// Its device.
        found: String,
        /// Device of the input.
        expected: String,
    },
}
