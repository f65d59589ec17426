//! Muon for the matrices of the layers, AdamW for all else.

use burn::module::ParamGroup;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{
    AdjustLrFn, LearningRate, ModuleOptimizer, MuonConfig, MuonState, Optimizer, RecordState,
    StateSink, StateSource,
};
use burn::tensor::{Device, Tensor};
use training_run::RateSchedule;
use tritburn_models::TrainableModel;

use super::{DecayingAdamW, Schedule};

/// Burn's Muon (Jordan et al. 2024) with the weight decay of a [`Schedule`].
///
/// Steps are scaled to the size of AdamW's (Liu et al. 2025, arXiv 2502.16982), so that one learning rate
/// serves both. They do not depend on the length of a gradient: clipping would change nothing.
#[derive(Clone)]
pub struct DecayingMuon {
    config: MuonConfig,
    schedule: Schedule,
}

/// State of a matrix: Muon's, and the steps done, which the weight decay follows.
#[derive(Clone)]
pub struct DecayingMuonState<const D: usize> {
    time: usize,
    muon: MuonState<D>,
}

impl DecayingMuon {
    /// For the steps of `schedule`.
    pub fn new(schedule: Schedule) -> Self {
        let momentum = MomentumConfig {
            momentum: 0.95,
            dampening: 0.0,
            nesterov: true,
        };
        let config = MuonConfig::new()
            .with_momentum(momentum)
            .with_adjust_lr_fn(AdjustLrFn::MatchRmsAdamW);
        Self { config, schedule }
    }

    /// The optimizer of a [`Trainee`](super::Trainee) of `model`: this for the matrices of its layers,
    /// `others` for tables and norms.
    pub fn beside(
        self,
        others: DecayingAdamW<Schedule>,
        model: &TrainableModel,
    ) -> ModuleOptimizer {
        let matrices = model.layer_matrices().into_iter();
        let matrices = matrices.map(|path| format!("{FIELD}.{path}")).collect();
        // Not by their ids: a model that is loaded from a checkpoint has those of the checkpoint.
        ModuleOptimizer::from(others).with_group(ParamGroup::from_paths(matrices), self, None)
    }
}

/// The field of a `Trainee` that is the model.
const FIELD: &str = "model";

/// Name of the steps in a record, beside what Muon keeps.
const TIME: &str = "time";

// Burn's derive works in its own crate only.
impl<const D: usize> RecordState for DecayingMuonState<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        self.muon.state_flatten(prefix, out);
        out.push_scalar(prefix, TIME, (self.time as u64).into());
    }

    fn state_unflatten(prefix: &str, source: &mut StateSource, device: &Device) -> Option<Self> {
        let time = u64::try_from(source.take_scalar(prefix, TIME)?).ok()?;
        Some(Self {
            time: time as usize,
            muon: MuonState::state_unflatten(prefix, source, device)?,
        })
    }
}

impl Optimizer for DecayingMuon {
    type State<const D: usize> = DecayingMuonState<D>;

    fn step<const D: usize>(
        &self,
        rate: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        let time = state.as_ref().map_or(0, |state| state.time) + 1;
        let decay = WeightDecayConfig::new(self.schedule.weight_decay(time) as f32);
        let muon = self.config.clone().with_weight_decay(Some(decay)).build();
        let (tensor, muon) = muon.step(rate, tensor, grad, state.map(|state| state.muon));
        (tensor, muon.map(|muon| DecayingMuonState { time, muon }))
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        DecayingMuonState {
            muon: <burn::optim::Muon as Optimizer>::to_device(state.muon, device),
            ..state
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    #[test]
    fn steps_are_as_long_as_adamws_whatever_the_length_of_the_gradient() {
        let device = crate::test_device();
        let schedule = Schedule {
            steps: 4,
            warmup_steps: 0,
            learning_rate: 0.1,
            second_learning_rate: 0.05,
            weight_decay: 0.0,
        };
        let muon = DecayingMuon::new(schedule);
        let weight = Tensor::<2>::zeros([64, 96], &device);
        let grad = Tensor::<2>::random([64, 96], Distribution::Default, &device);
        for scale in [1e-3, 1e3] {
            let (stepped, state) = muon.step(1.0, weight.clone(), grad.clone() * scale, None);
            let rms = stepped.square().mean().sqrt().into_scalar::<f32>();
            assert!(
                (0.1..0.3).contains(&rms),
                "AdamW's is 0.2 by experience: {rms}"
            );
            assert_eq!(state.unwrap().time, 1);
        }
    }
}
