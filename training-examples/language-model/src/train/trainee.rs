//! The model as Burn trains it.

use std::sync::Arc;

use burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, ExecutionError, Tensor};
use burn::train::metric::Adaptor;
use burn::train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};
use training_run::{StepLoss, Unread};
use tritburn::optim::GlobalNormClip;
use tritburn::stats::{CodeCounts, CodeSnapshot, CodeWatch};
use tritburn::training::LossConfig;
use tritburn_models::TrainableModel;
use tritburn_models::trainable::{Distillation, TrainableError};

use super::parallel::Exchange;
use crate::data::{IGNORED, TokenBatch};

/// Steps from one look at the codes to the next.
const WATCH_STEPS: usize = 10;

/// A [`TrainableModel`] and what is watched of its codes.
#[derive(Module, Debug)]
pub struct Trainee {
    /// The model.
    pub model: TrainableModel,
    /// Counts codes; none in a float model.
    #[module(skip)]
    watch: Option<Arc<CodeWatch>>,
    /// What all gradients together are clipped to.
    #[module(skip)]
    clip: GlobalNormClip,
    /// Parts that a step is computed in, one after the other.
    #[module(skip)]
    parts: usize,
    /// Steps over which a float model becomes ternary; 0 for at once.
    #[module(skip)]
    quantization_steps: usize,
    /// A model to learn from besides the data, a copy on each device.
    #[module(skip)]
    teacher: Option<Arc<(Vec<TrainableModel>, Distillation)>>,
    /// Adds up what several devices find.
    #[module(skip)]
    exchange: Option<Arc<Exchange>>,
    /// What a step waits for.
    #[module(skip)]
    unread: Unread,
    /// Steps done in this process.
    #[module(skip)]
    steps: usize,
    /// What the latest step did to the codes, if it was watched.
    #[module(skip)]
    counts: Option<CodeCounts>,
    /// Norm of the latest step's gradients before clipping, `[1]`.
    #[module(skip)]
    gradient_norm: Option<Tensor<1>>,
}

impl Trainee {
    /// A model about to be trained by an optimizer that holds a clone of `clip`.
    pub fn new(model: TrainableModel, clip: GlobalNormClip) -> Self {
        let watch = CodeWatch::new(&model).ok();
        Self {
            watch: watch.filter(|watch| !watch.is_empty()).map(Arc::new),
            model,
            clip,
            parts: 1,
            quantization_steps: 0,
            teacher: None,
            exchange: None,
            unread: Unread::default(),
            steps: 0,
            counts: None,
            gradient_norm: None,
        }
    }

    /// The same, with steps of `parts` whose gradients are added up: only the activations of one are in
    /// memory at once.
    pub fn with_parts(self, parts: usize) -> Self {
        Self { parts, ..self }
    }

    /// The same, quantised little by little over the first `steps`.
    pub fn with_quantization_steps(self, steps: usize) -> Self {
        Self {
            quantization_steps: steps,
            ..self
        }
    }

    /// The same, learning from a teacher too, on each of `devices`.
    ///
    /// # Errors
    /// [`TrainableError::Teacher`] for one of other tokens.
    pub fn with_teacher(
        self,
        teacher: Option<(TrainableModel, Distillation)>,
        devices: &[Device],
    ) -> Result<Self, TrainableError> {
        let Some((teacher, distillation)) = teacher else {
            return Ok(self);
        };
        self.model.check_teacher(&teacher)?;
        let copies = devices.iter().map(|device| teacher.clone().fork(device));
        Ok(Self {
            teacher: Some(Arc::new((copies.collect(), distillation))),
            ..self
        })
    }

    /// The same, changing nothing that a checkpoint is still to be made of.
    pub fn with_unread(self, unread: Unread) -> Self {
        Self { unread, ..self }
    }

    /// The same, with gradients and losses that are the sums of several devices'.
    pub fn with_exchange(self, exchange: Option<Exchange>) -> Self {
        Self {
            exchange: exchange.map(Arc::new),
            ..self
        }
    }

    /// How far a step, counted from 1, is on the way to the ternary model.
    fn share(&self, step: usize) -> f32 {
        match step < self.quantization_steps {
            true => step as f32 / self.quantization_steps as f32,
            false => 1.0,
        }
    }

    /// What a batch adds to the mean loss of its step, and its gradients.
    fn gradients(&self, batch: &TokenBatch) -> (Tensor<1>, GradientsParams) {
        let of = |loss: Tensor<1>| {
            let value = loss.clone().detach();
            (value, GradientsParams::from_grads(loss.backward(), self))
        };
        let share_of_codes = self.share(batch.step);
        if self.parts == 1 && batch.weight() == batch.step_weight {
            return of(self.training_loss(batch, share_of_codes));
        }
        let mut sum = GradientsAccumulator::new();
        let mut losses = Vec::new();
        for part in batch.split(self.parts) {
            let loss = self.training_loss(&part, share_of_codes);
            let (loss, gradients) = of(loss.mul_scalar(part.share()));
            sum.accumulate(self, gradients);
            losses.push(loss);
        }
        (Tensor::cat(losses, 0).sum(), sum.grads())
    }

    /// The loss that a step lowers.
    fn training_loss(&self, batch: &TokenBatch, share: f32) -> Tensor<1> {
        let (inputs, targets) = (batch.inputs.clone(), batch.targets.clone());
        let config = loss_config(batch);
        let loss = match self.teacher.as_deref() {
            None => self.model.loss_by(inputs, targets, &config, share),
            Some((teachers, distillation)) => {
                let model = &self.model;
                let device = model.device().inner();
                let own = |teacher: &&TrainableModel| teacher.device() == device;
                let teacher = teachers.iter().find(own).expect(COPIED);
                model.distill_loss(inputs, targets, teacher, *distillation, &config, share)
            }
        };
        loss.expect(FITS)
    }

    /// The codes before a step that is watched.
    fn codes_before(&self) -> Option<CodeSnapshot> {
        let watched = self.steps.is_multiple_of(WATCH_STEPS);
        let watch = self.watch.as_ref().filter(|_| watched)?;
        watch.codes(&self.model).ok()
    }

    /// Counts what a step changed, without waiting for the device.
    fn count(&mut self, before: Option<CodeSnapshot>) {
        self.steps += 1;
        self.counts = self.watch.as_ref().and_then(|watch| {
            let after = watch.codes(&self.model);
            watch.compare(&before?, &after.ok()?)
        });
    }
}

/// Which targets count.
fn loss_config(batch: &TokenBatch) -> LossConfig {
    LossConfig {
        ignore: batch.counted.as_ref().map(|_| IGNORED),
        ..LossConfig::default()
    }
}

/// What cannot fail: a teacher is copied to every device before the training begins.
const COPIED: &str = "every device has its copy of the teacher";

/// What cannot fail: the training was checked before it began.
const FITS: &str = "windows are as long as the context of the model, and on its device";

impl TrainStep for Trainee {
    type Input = TokenBatch;
    type Output = StepReport;

    fn step(&self, batch: TokenBatch) -> TrainOutput<StepReport> {
        let (loss, grads) = self.gradients(&batch);
        let (loss, grads) = match &self.exchange {
            Some(exchange) => exchange.sum(self, loss, grads, batch.shard.index),
            None => (loss, grads),
        };
        let item = StepReport {
            step: batch.step,
            loss,
            counts: self.counts.clone(),
            gradient_norm: self.gradient_norm.clone(),
        };
        TrainOutput { grads, item }
    }

    fn optimize(
        self,
        optimizer: &mut ModuleOptimizer,
        rate: ModuleLearningRate,
        gradients: GradientsParams,
    ) -> Self {
        self.unread.wait();
        let before = self.codes_before();
        let norm = self.clip.measure(&gradients, &self);
        let mut trained = optimizer.step(rate, self, gradients);
        trained.count(before);
        trained.gradient_norm = Some(norm);
        trained
    }
}

impl InferenceStep for Trainee {
    type Input = TokenBatch;
    type Output = StepReport;

    fn step(&self, batch: TokenBatch) -> StepReport {
        // Held-out text is for the model that will serve.
        let config = loss_config(&batch);
        let loss = self
            .model
            .loss_with(batch.inputs.clone(), batch.targets.clone(), &config);
        let loss = loss.expect(FITS);
        StepReport {
            step: batch.step,
            loss,
            counts: None,
            gradient_norm: None,
        }
    }
}

/// What is known of a step when its gradients are.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// The step, counted from 1; 0 in validation.
    pub step: usize,
    /// Mean cross-entropy in nats a token, `[1]`.
    pub loss: Tensor<1>,
    /// What the step before did to the codes, where it was watched.
    pub counts: Option<CodeCounts>,
    /// Norm of the gradients of the step before, ahead of clipping, `[1]`.
    pub gradient_norm: Option<Tensor<1>>,
}

impl StepLoss for StepReport {
    fn step(&self) -> usize {
        self.step
    }

    fn loss(&self) -> Tensor<1> {
        self.loss.clone()
    }
}

impl ItemLazy for StepReport {
    /// Waits for nothing: metrics read what they show, on a thread of their own.
    fn sync(self) -> Result<Self, ExecutionError> {
        Ok(self)
    }
}

impl Adaptor<StepReport> for StepReport {
    fn adapt(&self) -> StepReport {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use burn::module::{ModuleVisitor, Param};

    use super::*;
    use crate::data::{Conversation, Shard};
    use crate::model::ModelConfig;

    /// All gradients of a model in a row.
    struct Row<'a>(&'a GradientsParams, Vec<f32>);

    impl ModuleVisitor for Row<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let gradient = self.0.get::<D>(param.id).expect("every parameter has one");
            self.1.extend(gradient.into_data().iter::<f32>());
        }
    }

    fn step(trainee: &Trainee, batch: TokenBatch) -> (f32, Vec<f32>) {
        let output = TrainStep::step(trainee, batch);
        let mut row = Row(&output.grads, Vec::new());
        trainee.visit(&mut row);
        (output.item.loss.into_scalar(), row.1)
    }

    #[test]
    fn losses_and_gradients_of_the_parts_of_a_step_add_up_to_those_of_the_step() {
        let device = crate::test_device().autodiff();
        let sizes = ModelConfig::new().with_d_model(32).with_d_ff(64);
        let sizes = sizes.with_layers(2).with_heads(2).with_context(64);
        device.seed(3);
        let model = sizes.init(&device).unwrap();
        let trainee = Trainee::new(model, GlobalNormClip::new(1.0));
        // Five conversations of which different numbers of tokens count, on two devices: three and two.
        let talks: Vec<Conversation> = (0..5)
            .map(|talk| Conversation {
                ids: (0..20 + 5 * talk).map(|id| (id * 7 + talk) % 256).collect(),
                said: (0..20 + 5 * talk).map(|at| at % 3 == talk % 3).collect(),
            })
            .collect();
        let whole = TokenBatch::of_talks(talks.iter(), 1, &device);
        let weight = whole.weight();
        let (loss, gradients) = step(&trainee, whole.clone());

        let close = |found: &[(f32, Vec<f32>)]| {
            let sum: f32 = found.iter().map(|(loss, _)| loss).sum();
            assert!((sum - loss).abs() < 1e-5, "{sum} is not {loss}");
            let largest = gradients.iter().fold(0f32, |most, g| most.max(g.abs()));
            for (place, expected) in gradients.iter().enumerate() {
                let sum: f32 = found.iter().map(|(_, part)| part[place]).sum();
                let off = (sum - expected).abs();
                assert!(off < 1e-4 * largest, "{sum} is not {expected} at {place}");
            }
        };
        let parts = Shard::all(2).map(|shard| {
            let own = talks[shard.range(talks.len())].iter();
            let batch = TokenBatch::of_talks(own, 1, &device).as_part(shard, weight);
            step(&trainee, batch)
        });
        close(&parts.collect::<Vec<_>>());
        // One device, one window after the other.
        close(&[step(&trainee.clone().with_parts(5), whole)]);
    }

    /// On a device whose records are read when they are written, with an optimizer that works in place.
    #[cfg(feature = "cpu")]
    #[test]
    fn a_step_does_not_change_a_checkpoint_that_is_still_to_be_read() {
        use std::thread;
        use std::time::Duration;

        use burn::train::checkpoint::Checkpoint;
        use tritburn::optim::AdamWConfig;

        let device = Device::cpu().autodiff();
        let sizes = ModelConfig::new().with_d_model(32).with_d_ff(48);
        let sizes = sizes.with_layers(1).with_heads(2).with_context(64);
        device.seed(3);
        let unread = Unread::default();
        let trainee = Trainee::new(sizes.init(&device).unwrap(), GlobalNormClip::new(1.0));
        let trainee = trainee.with_unread(unread.clone());
        let mut optimizer = AdamWConfig::new().init();
        let talk = Conversation {
            ids: (0..16).collect(),
            said: vec![true; 16],
        };
        let mut optimize = |trainee: Trainee| {
            let batch = TokenBatch::of_talks([&talk].into_iter(), 1, &device);
            let gradients = TrainStep::step(&trainee, batch).grads;
            let trained = trainee.optimize(&mut optimizer, 1e-3.into(), gradients);
            let records = || (trained.model.clone().into_record(), optimizer.to_record());
            let (model, state) = records();
            let bytes = [
                model.checkpoint_into_bytes().unwrap(),
                state.checkpoint_into_bytes().unwrap(),
            ];
            let later = records();
            (trained, bytes.map(|bytes| bytes.to_vec()), later)
        };
        let (trainee, expected, (model, state)) = optimize(trainee);
        unread.add(1);
        let writer = thread::spawn(move || {
            let _reading = unread.one();
            thread::sleep(Duration::from_millis(500));
            let model = model.checkpoint_into_bytes().unwrap();
            [model, state.checkpoint_into_bytes().unwrap()].map(|bytes| bytes.to_vec())
        });
        let (_, next, _) = optimize(trainee);
        let written = writer.join().unwrap();
        assert!(written == expected && next != expected);
    }
}
