//! AdamW with a weight decay that follows a schedule, and the learning rate of that schedule.

use burn::lr_scheduler::{LrScheduler, LrSchedulerRecord};
use burn::optim::{AdamWState, LearningRate, Optimizer};
use burn::tensor::{Device, Tensor};
use tritburn::optim::{AdamW, AdamWConfig, GlobalNormClip};

/// Learning rate and weight decay of every step, counted from 1.
pub trait RateSchedule: Clone + Send + Sync + 'static {
    /// Learning rate of `step`.
    fn learning_rate(&self, step: usize) -> f64;

    /// Weight decay of `step`.
    fn weight_decay(&self, step: usize) -> f64;
}

/// AdamW (β 0.9 and, unless told otherwise, 0.95) whose weight decay is a [`RateSchedule`]'s.
///
/// Burn's optimizers take one weight decay for all steps. The step is that of AdamW's state, so a
/// resumed optimizer goes on where it was.
#[derive(Clone)]
pub struct DecayingAdamW<S> {
    config: AdamWConfig,
    clip: GlobalNormClip,
    schedule: S,
}

impl<S: RateSchedule> DecayingAdamW<S> {
    /// An optimizer for the steps of `schedule`, with gradients multiplied by what `clip` measured.
    pub fn new(schedule: S, clip: GlobalNormClip) -> Self {
        let config = AdamWConfig::new().with_beta_2(0.95).with_epsilon(1e-8);
        Self {
            config,
            clip,
            schedule,
        }
    }

    /// The same with another β of the squares.
    pub fn with_beta_2(self, beta: f32) -> Self {
        Self {
            config: self.config.with_beta_2(beta),
            ..self
        }
    }
}

impl<S: RateSchedule> Optimizer for DecayingAdamW<S> {
    type State<const D: usize> = AdamWState<D>;

    fn step<const D: usize>(
        &self,
        rate: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        let step = state.as_ref().map_or(0, |state| state.momentum.time) + 1;
        // Matrices only: the gains of norms belong near 1, not near 0.
        let decay = match D {
            1 => 0.0,
            _ => self.schedule.weight_decay(step),
        };
        let adamw = self.config.clone().with_weight_decay(decay as f32).build();
        let adamw = adamw.with_clip(self.clip.clone());
        adamw.step(rate, tensor, grad, state)
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        AdamW::to_device(state, device)
    }
}

/// The learning rate of a [`RateSchedule`], step by step.
#[derive(Clone)]
pub struct ScheduledRate<S> {
    schedule: S,
    steps_done: usize,
}

impl<S> ScheduledRate<S> {
    /// Begins at the first step.
    pub fn new(schedule: S) -> Self {
        Self {
            schedule,
            steps_done: 0,
        }
    }
}

const STEPS_DONE: &str = "steps_done";

impl<S: RateSchedule> LrScheduler for ScheduledRate<S> {
    fn step(&mut self) -> LearningRate {
        self.steps_done += 1;
        self.schedule.learning_rate(self.steps_done)
    }

    fn to_record(&self) -> LrSchedulerRecord {
        LrSchedulerRecord::new().with_scalar(STEPS_DONE, self.steps_done as u64)
    }

    fn load_record(&mut self, record: LrSchedulerRecord) {
        // A record without it is of another scheduler, and the schedule begins anew.
        self.steps_done = record.scalar::<u64>(STEPS_DONE).unwrap_or(0) as usize;
    }
}

#[cfg(test)]
mod tests {
    use burn::optim::AdamWConfig;

    use super::*;

    /// Falls from step to step.
    #[derive(Clone)]
    struct Falling;

    impl RateSchedule for Falling {
        fn learning_rate(&self, step: usize) -> f64 {
            0.1 / step as f64
        }

        fn weight_decay(&self, step: usize) -> f64 {
            0.5 / step as f64
        }
    }

    #[test]
    fn each_step_is_that_of_an_adamw_with_the_weight_decay_of_the_step() {
        let device = Device::default();
        let optimizer = DecayingAdamW::new(Falling, GlobalNormClip::new(1.0));
        let (mut tensor, mut state) = (Tensor::<2>::ones([2, 3], &device), None);
        for step in 1..=10 {
            let decay = Falling.weight_decay(step) as f32;
            let plain = AdamWConfig::new()
                .with_beta_2(0.95)
                .with_epsilon(1e-8)
                .with_weight_decay(decay)
                .build();
            let grad = Tensor::ones([2, 3], &device) * step as f32;
            let (expected, _) = plain.step(0.1, tensor.clone(), grad.clone(), state.clone());
            (tensor, state) = optimizer.step(0.1, tensor, grad, state);
            let difference = (expected - tensor.clone()).abs().max().into_scalar::<f32>();
            assert!(difference < 1e-6, "{difference} at step {step}");
        }
    }

    #[test]
    fn gains_of_norms_do_not_decay() {
        let device = Device::default();
        let optimizer = DecayingAdamW::new(Falling, GlobalNormClip::new(1.0));
        let gain = Tensor::<1>::ones([4], &device);
        let mut state = None;
        for _ in 0..5 {
            let step = optimizer.step(0.1, gain.clone(), gain.zeros_like(), state);
            step.0.into_data().assert_eq(&gain.to_data(), true);
            state = step.1;
        }
    }

    #[test]
    fn a_rate_loaded_from_a_record_goes_on_where_it_was() {
        let mut unbroken = ScheduledRate::new(Falling);
        let rates: Vec<_> = (0..10).map(|_| unbroken.step()).collect();
        let mut first = ScheduledRate::new(Falling);
        for _ in 0..4 {
            first.step();
        }
        let mut resumed = ScheduledRate::new(Falling);
        resumed.load_record(first.to_record());
        assert_eq!(
            (4..10).map(|_| resumed.step()).collect::<Vec<_>>(),
            rates[4..]
        );
    }
}
