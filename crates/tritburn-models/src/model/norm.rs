//! Norms that hand their result to a projection in the form it takes.

use burn::tensor::Tensor;
use tritburn::transformer::{self, GatedActivation};

use super::error::ModelError;
use super::linear::Normed;

/// A root-mean-square norm, followed by the int8 quantiser if the next projection wants one.
#[derive(Clone, Debug)]
pub(super) struct Norm {
    pub gamma: Tensor<1>,
    pub epsilon: f32,
    pub quantize: bool,
}

impl Norm {
    /// The residual sum `x + residual` and its norm.
    pub fn forward(
        &self,
        x: Tensor<2>,
        residual: Option<Tensor<2>>,
    ) -> Result<(Tensor<2>, Normed), ModelError> {
        let gamma = self.gamma.clone();
        if self.quantize {
            let (sum, codes, scales) =
                transformer::rms_norm_quantize(x, residual, gamma, self.epsilon)?;
            Ok((sum, Normed::Int8(codes, scales)))
        } else {
            let (sum, y) = transformer::rms_norm(x, residual, gamma, self.epsilon)?;
            Ok((sum, Normed::Float(y)))
        }
    }

    /// The norm as floats, whatever follows.
    pub fn forward_float(
        &self,
        x: Tensor<2>,
        residual: Option<Tensor<2>>,
    ) -> Result<Tensor<2>, ModelError> {
        let (_, y) = transformer::rms_norm(x, residual, self.gamma.clone(), self.epsilon)?;
        Ok(y)
    }

    fn operand(&self) -> transformer::Norm {
        transformer::Norm {
            gamma: self.gamma.clone(),
            epsilon: self.epsilon,
        }
    }
}

/// `x`, normalised where the model has a norm at this place.
pub(super) fn normed(norm: Option<&Norm>, x: Tensor<2>) -> Result<Normed, ModelError> {
    match norm {
        Some(norm) => Ok(norm.forward(x, None)?.1),
        None => Ok(Normed::Float(x)),
    }
}

/// `f(gate) · up`, normalised where the model has a norm at this place.
pub(super) fn gated(
    norm: Option<&Norm>,
    gate_up: Tensor<2>,
    activation: GatedActivation,
) -> Result<Normed, ModelError> {
    Ok(match norm {
        Some(norm) if norm.quantize => {
            let (codes, scales) =
                transformer::gated_norm_quantize(gate_up, activation, norm.operand())?;
            Normed::Int8(codes, scales)
        }
        norm => {
            let norm = norm.map(Norm::operand);
            Normed::Float(transformer::gated(gate_up, activation, norm)?)
        }
    })
}
