//! The projections that share an input: q|k|v, gate|up, or one alone.

use burn::tensor::{DType, Tensor};

use super::error::ModelError;
use super::linear::{Linear, Normed};
use super::norm::Norm;

/// Projections of one input, their outputs side by side.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "few exist, and none is moved in a loop"
)]
pub(super) enum Projections {
    /// One product, of the rows of all of them.
    Fused(Linear),
    /// A norm and a product each: the norms differ, and so does what is multiplied.
    Each(Vec<(Norm, Linear)>),
}

impl Projections {
    /// `[tokens, rows of all]` in `dtype`.
    pub fn forward(&self, x: Normed, dtype: DType) -> Result<Tensor<2>, ModelError> {
        match self {
            Self::Fused(linear) => linear.forward(x, dtype),
            Self::Each(parts) => {
                let x = x.into_float()?;
                let outputs = parts.iter().map(|(norm, linear)| {
                    let (_, x) = norm.forward(x.clone(), None)?;
                    linear.forward(x, dtype)
                });
                let mut outputs = outputs.collect::<Result<Vec<_>, ModelError>>()?;
                match outputs.len() {
                    1 => Ok(outputs.swap_remove(0)),
                    _ => Ok(Tensor::cat(outputs, 1)),
                }
            }
        }
    }

    /// Whether the norm in front has to quantise.
    pub fn takes_int8(&self) -> bool {
        match self {
            Self::Fused(linear) => linear.takes_int8(),
            Self::Each(_) => false,
        }
    }

    /// Bytes on the device.
    pub fn byte_count(&self) -> usize {
        match self {
            Self::Fused(linear) => linear.byte_count(),
            Self::Each(parts) => parts.iter().map(|(_, linear)| linear.byte_count()).sum(),
        }
    }
}
