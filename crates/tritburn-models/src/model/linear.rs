//! A projection of the decoder, in one of the forms a model can run in.

use burn::tensor::{DType, Device, Int, Tensor};
use tritburn::formats::PackedMatrix;
use tritburn::ops::FrozenWeight;
use tritburn::{Error, InputPrecision};

use super::error::ModelError;

/// A linear map without bias.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "few exist, and none is moved in a loop"
)]
pub(super) enum Linear {
    /// 2 bits a weight.
    Ternary(FrozenWeight),
    /// Float weights `[out, in]`.
    Dense(Tensor<2>),
}

/// The input of a projection, as the norm before it leaves it.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "few exist, and none is moved in a loop"
)]
pub(super) enum Normed {
    /// Int8 codes and per-token scales.
    Int8(Tensor<1, Int>, Tensor<1>),
    /// Floats `[tokens, in]`.
    Float(Tensor<2>),
}

impl Linear {
    /// Weights packed to 2 bits.
    pub fn ternary(
        matrix: &PackedMatrix,
        precision: InputPrecision,
        device: &Device,
    ) -> Result<Self, ModelError> {
        Ok(Self::Ternary(FrozenWeight::from_matrix(
            matrix, precision, device,
        )?))
    }

    /// `x · Wᵀ` in `dtype`.
    pub fn forward(&self, x: Normed, dtype: DType) -> Result<Tensor<2>, ModelError> {
        Ok(match (self, x) {
            (Self::Ternary(weight), Normed::Int8(codes, scales)) => {
                weight.forward_quantized(codes, scales, dtype)?
            }
            (Self::Ternary(weight), Normed::Float(x)) => weight.forward(x)?,
            (Self::Dense(weight), Normed::Float(x)) => x.matmul(weight.clone().transpose()),
            (Self::Dense(_), Normed::Int8(..)) => return Err(Error::FloatActivations.into()),
        })
    }

    /// Bytes on the device.
    pub fn byte_count(&self) -> usize {
        match self {
            Self::Ternary(weight) => weight.byte_count(),
            Self::Dense(weight) => weight.shape().num_elements() * weight.dtype().size(),
        }
    }
}
