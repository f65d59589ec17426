//! A projection of the decoder, in one of the forms a model can run in.

use burn::tensor::{DType, Device, Int, Tensor};
use tritburn::formats::affine::concat_rows;
use tritburn::formats::{AffineMatrix, MatrixError, PackedMatrix};
use tritburn::ops::{FrozenAffineWeight, FrozenWeight};
use tritburn::{Error, InputPrecision};

use super::error::ModelError;

/// A linear map.
#[derive(Clone, Debug)]
pub(super) struct Linear {
    pub weight: Weight,
    /// Added to the result, `[1, out]`.
    pub bias: Option<Tensor<2>>,
}

/// The weights of a linear map.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "few exist, and none is moved in a loop"
)]
pub(super) enum Weight {
    /// 2 bits a weight.
    Ternary(FrozenWeight),
    /// 2 to 4 bits with groups: one matrix, or those whose rows are stored too differently to be one.
    Affine(Vec<FrozenAffineWeight>),
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

impl Normed {
    /// The floats, for what does not take codes.
    pub fn into_float(self) -> Result<Tensor<2>, Error> {
        match self {
            Self::Float(x) => Ok(x),
            Self::Int8(..) => Err(Error::FloatActivations),
        }
    }
}

impl Weight {
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

    /// Weights with groups, whose rows are stacked.
    pub fn affine(parts: Vec<AffineMatrix>, device: &Device) -> Result<Self, ModelError> {
        let parts = match concat_rows(&parts) {
            Ok(whole) => vec![whole],
            Err(MatrixError::ConcatAffine { .. }) => parts,
            Err(error) => return Err(error.into()),
        };
        let frozen = parts
            .iter()
            .map(|part| FrozenAffineWeight::from_matrix(part, device));
        Ok(Self::Affine(frozen.collect::<Result<_, Error>>()?))
    }
}

impl Linear {
    /// `x · Wᵀ + b` in `dtype`. Floats are quantised first where the weights want int8.
    pub fn forward(&self, x: Normed, dtype: DType) -> Result<Tensor<2>, ModelError> {
        let y = match (&self.weight, x) {
            (Weight::Ternary(weight), Normed::Int8(codes, scales)) => {
                weight.forward_quantized(codes, scales, dtype)?
            }
            (Weight::Ternary(weight), Normed::Float(x)) => weight.forward(x)?,
            (Weight::Affine(parts), x) => {
                let x = x.into_float()?;
                let outputs = parts.iter().map(|part| part.forward(x.clone(), None));
                let mut outputs = outputs.collect::<Result<Vec<_>, _>>()?;
                match outputs.len() {
                    1 => outputs.swap_remove(0),
                    _ => Tensor::cat(outputs, 1),
                }
            }
            (Weight::Dense(weight), x) => x.into_float()?.matmul(weight.clone().transpose()),
        };
        Ok(match &self.bias {
            None => y,
            Some(bias) => y + bias.clone(),
        })
    }

    /// Whether inputs are int8 codes.
    pub fn takes_int8(&self) -> bool {
        match &self.weight {
            Weight::Ternary(weight) => weight.input_precision() == InputPrecision::Int8,
            Weight::Affine(_) | Weight::Dense(_) => false,
        }
    }

    /// Bytes on the device.
    pub fn byte_count(&self) -> usize {
        let bytes = |tensor: &Tensor<2>| tensor.shape().num_elements() * tensor.dtype().size();
        let weight = match &self.weight {
            Weight::Ternary(weight) => weight.byte_count(),
            Weight::Affine(parts) => parts.iter().map(FrozenAffineWeight::byte_count).sum(),
            Weight::Dense(weight) => bytes(weight),
        };
        weight + self.bias.as_ref().map_or(0, bytes)
    }
}
