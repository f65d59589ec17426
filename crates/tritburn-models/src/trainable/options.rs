//! How a trainable model computes.

use burn::tensor::{DType, Device};

use crate::model::LoadOptions;

/// How a [`TrainableModel`](super::TrainableModel) is made.
#[derive(Clone, Debug)]
pub struct TrainableOptions {
    /// Element type of the residual stream and of activations: f32, bf16 or f16. Parameters are f32
    /// whatever it is, and so is the loss.
    pub dtype: DType,
    /// Whether a checkpoint may be packed. Its float weights are gone then; the model gets ones that
    /// quantise to the same codes and scales, without the history that training gave them.
    pub unpack: bool,
    /// Whether the weights of a plain float model become the latent weights of a ternary one. Its loss
    /// jumps: training has to bring it back.
    pub ternarize: bool,
}

impl TrainableOptions {
    /// What trains best on `device`: bf16 activations on GPUs that compute with them, else f32.
    pub fn for_device(device: &Device) -> Self {
        Self {
            dtype: LoadOptions::for_device(device).dtype,
            ..Self::default()
        }
    }
}

impl Default for TrainableOptions {
    /// f32, no packed checkpoints, and float models stay so.
    fn default() -> Self {
        Self {
            dtype: DType::F32,
            unpack: false,
            ternarize: false,
        }
    }
}
