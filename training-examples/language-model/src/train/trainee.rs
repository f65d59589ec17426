//! The model as Burn trains it.

use std::sync::Arc;

use burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams, ModuleOptimizer};
use burn::tensor::{ExecutionError, Tensor};
use burn::train::metric::Adaptor;
use burn::train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};
use tritburn::optim::GlobalNormClip;
use tritburn::stats::{CodeCounts, CodeSnapshot, CodeWatch};
use tritburn::training::LossConfig;
use tritburn_models::TrainableModel;
use tritburn_models::trainable::{Distillation, TrainableError};

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
    /// Windows whose activations are in memory at once.
    #[module(skip)]
    micro_batch: usize,
    /// Steps over which a float model becomes ternary; 0 for at once.
    #[module(skip)]
    quantization_steps: usize,
    /// A model to learn from besides the data.
    #[module(skip)]
    teacher: Option<Arc<(TrainableModel, Distillation)>>,
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
            micro_batch: usize::MAX,
            quantization_steps: 0,
            teacher: None,
            steps: 0,
            counts: None,
            gradient_norm: None,
        }
    }

    /// The same, with steps that take `windows` at a time and add up their gradients.
    pub fn with_micro_batch(self, windows: usize) -> Self {
        Self {
            micro_batch: windows,
            ..self
        }
    }

    /// The same, quantised little by little over the first `steps`.
    pub fn with_quantization_steps(self, steps: usize) -> Self {
        Self {
            quantization_steps: steps,
            ..self
        }
    }

    /// The same, learning from a teacher too.
    ///
    /// # Errors
    /// [`TrainableError::Teacher`] for one of other tokens.
    pub fn with_teacher(
        self,
        teacher: Option<(TrainableModel, Distillation)>,
    ) -> Result<Self, TrainableError> {
        if let Some((teacher, _)) = &teacher {
            self.model.check_teacher(teacher)?;
        }
        Ok(Self {
            teacher: teacher.map(Arc::new),
            ..self
        })
    }

    /// How far a step, counted from 1, is on the way to the ternary model.
    fn share(&self, step: usize) -> f32 {
        match step < self.quantization_steps {
            true => step as f32 / self.quantization_steps as f32,
            false => 1.0,
        }
    }

    /// The mean loss of a batch, and its gradients.
    fn gradients(&self, batch: &TokenBatch) -> (Tensor<1>, GradientsParams) {
        let of = |loss: Tensor<1>| {
            let value = loss.clone().detach();
            (value, GradientsParams::from_grads(loss.backward(), self))
        };
        let share_of_codes = self.share(batch.step);
        if self.micro_batch >= batch.windows() {
            return of(self.training_loss(batch, share_of_codes));
        }
        let mut sum = GradientsAccumulator::new();
        let mut losses = Vec::new();
        for part in batch.split(self.micro_batch) {
            let share = part.weight() as f32 / batch.weight().max(1) as f32;
            let (loss, gradients) = of(self.training_loss(&part, share_of_codes).mul_scalar(share));
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
            Some((teacher, distillation)) => {
                let model = &self.model;
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

/// What cannot fail: the training was checked before it began.
const FITS: &str = "windows are as long as the context of the model, and on its device";

impl TrainStep for Trainee {
    type Input = TokenBatch;
    type Output = StepReport;

    fn step(&self, batch: TokenBatch) -> TrainOutput<StepReport> {
        let (loss, grads) = self.gradients(&batch);
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
