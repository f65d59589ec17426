//! Norms that hand their result to a projection in the form it takes.

use burn::tensor::Tensor;
use tritburn::transformer;

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

    /// The norm of `relu(gate)² · up`.
    pub fn forward_gated(&self, gate_up: Tensor<2>) -> Result<Normed, ModelError> {
        let gamma = self.gamma.clone();
        if self.quantize {
            let (codes, scales) =
                transformer::relu2_glu_norm_quantize(gate_up, gamma, self.epsilon)?;
            Ok(Normed::Int8(codes, scales))
        } else {
            let y = transformer::relu2_glu_norm(gate_up, gamma, self.epsilon)?;
            Ok(Normed::Float(y))
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
}
