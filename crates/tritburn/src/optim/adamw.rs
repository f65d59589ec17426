//! AdamW.

use burn::backend::Dispatch;
use burn::config::Config;
use burn::optim::{AdamWState, AdaptiveMomentumState, ModuleOptimizer, Optimizer};
use burn::tensor::{Device, Tensor};

use super::clip::GlobalNormClip;
use crate::training::{AdamWStep, Moments, TrainingOps};

/// Creates an [`AdamW`].
#[derive(Config, Debug)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    #[config(default = 0.9)]
    pub beta_1: f32,
    /// Decay of the second moment.
    #[config(default = 0.999)]
    pub beta_2: f32,
    /// Added to the root of the second moment.
    #[config(default = 1e-5)]
    pub epsilon: f32,
    /// Decay of parameters, times the learning rate.
    #[config(default = 1e-4)]
    pub weight_decay: f32,
}

impl AdamWConfig {
    /// The optimiser of a whole module.
    pub fn init(&self) -> ModuleOptimizer {
        self.build().into()
    }

    /// The optimiser of one parameter, for [`ModuleOptimizer::with_group`].
    pub fn build(&self) -> AdamW {
        AdamW {
            config: self.clone(),
            clip: None,
        }
    }
}

/// AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101):
///
/// `m = β₁·m + (1 - β₁)·g`, `v = β₂·v + (1 - β₂)·g²`,
/// `p = p · (1 - rate · decay) - rate · (m / (1 - β₁ᵗ)) / (√(v / (1 - β₂ᵗ)) + ε)`.
///
/// The same numbers as [`burn::optim::AdamW`], bit for bit on CPUs, and records that either reads,
/// in one operation a parameter: on CubeCL devices one launch that writes parameter and moments in
/// place. A parameter that somebody else holds, a clone of the model, is copied first.
///
/// Records are not clones. Those of a model or optimiser on a CubeCL device are read when they are written
/// (`cubecl`'s `read_lazy`), and hold what is in memory then; every optimizer that works in place changes
/// them, Burn's own too. Write a record, or turn it into bytes, before the next step. Burn's learner writes
/// checkpoints from a thread beside the training: a training of your own waits for it, as `language-model`
/// does.
///
/// Parameters may have any float dtype; the update is computed in f32.
#[derive(Clone, Debug)]
pub struct AdamW {
    config: AdamWConfig,
    clip: Option<GlobalNormClip>,
}

impl AdamW {
    /// The same, with gradients multiplied by the factor that `clip` found last, in the same launch.
    pub fn with_clip(self, clip: GlobalNormClip) -> Self {
        Self {
            clip: Some(clip),
            ..self
        }
    }
}

impl Optimizer for AdamW {
    type State<const D: usize> = AdamWState<D>;

    fn step<const D: usize>(
        &self,
        rate: f64,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        let (time, moments): (usize, Moments<Dispatch>) = match state {
            None => (1, Moments::Absent),
            Some(AdamWState { momentum }) => {
                let moments = Moments::Present {
                    first: momentum.moment_1.into_dispatch(),
                    second: momentum.moment_2.into_dispatch(),
                };
                (momentum.time + 1, moments)
            }
        };
        let step = AdamWStep {
            beta_1: self.config.beta_1,
            beta_2: self.config.beta_2,
            epsilon: self.config.epsilon,
            weight_decay: self.config.weight_decay,
            learning_rate: rate,
            time: time as u32,
        };
        let device = grad.device();
        let factor = self.clip.as_ref().and_then(|clip| clip.factor(&device));
        let factor = factor.map(|factor| factor.to_device(&device));
        let (tensor, first, second) = <Dispatch as TrainingOps>::adamw(
            tensor.into_dispatch(),
            grad.into_dispatch(),
            factor.map(Tensor::into_dispatch).into(),
            moments,
            step,
        );
        let [first, second] = [first, second].map(Tensor::from_dispatch);
        let state = AdamWState::new(AdaptiveMomentumState::new(time, first, second));
        (Tensor::from_dispatch(tensor), Some(state))
    }

    fn to_device<const D: usize>(mut state: Self::State<D>, device: &Device) -> Self::State<D> {
        state.momentum = state.momentum.to_device(device);
        state
    }
}
