//! The model as Burn trains it.

use std::sync::Arc;

use burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{DType, ExecutionError, Tensor};
use burn::train::metric::Adaptor;
use burn::train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};
use training_run::{StepLoss, Unread};
use tritburn::optim::GlobalNormClip;
use tritburn_models::VisionTransformer;
use tritburn_models::vision::{DropPath, Labelling, VisionError};

use super::config::TeacherConfig;
use super::loss::{cross_entropy, divergence, probabilities};
use crate::data::ImageBatch;

/// A model, and what is needed to train it.
#[derive(Module, Debug)]
pub struct Trainee {
    /// The model.
    pub model: VisionTransformer,
    /// From the student's features to those of the teacher; used while training only.
    matcher: Option<Matcher>,
    /// What all gradients together are clipped to.
    #[module(skip)]
    clip: GlobalNormClip,
    #[module(skip)]
    options: Options,
    #[module(skip)]
    teacher: Option<Arc<VisionTransformer>>,
    /// What a step waits for.
    #[module(skip)]
    unread: Unread,
    /// Norm of the latest step's gradients before clipping, `[1]`.
    #[module(skip)]
    gradient_norm: Option<Tensor<1>>,
}

/// How a step is computed.
#[derive(Clone, Debug)]
pub struct Options {
    /// Share of branches that are left out.
    pub drop_path: f64,
    /// What decides which.
    pub seed: u64,
    /// How much a teacher counts.
    pub teacher: Option<TeacherConfig>,
}

/// A norm and a linear map, from the features of one model to those of another.
#[derive(Module, Debug)]
pub struct Matcher {
    norm: LayerNorm,
    map: Linear,
}

impl Matcher {
    fn forward(&self, features: Tensor<3>) -> Tensor<3> {
        self.map
            .forward(self.norm.forward(features.cast(DType::F32)))
    }
}

impl Trainee {
    /// A model about to be trained by an optimizer that holds a clone of `clip`, with a teacher that gives
    /// features or logits, or without one.
    pub fn new(
        model: VisionTransformer,
        teacher: Option<VisionTransformer>,
        options: Options,
        clip: GlobalNormClip,
    ) -> Self {
        let device = model.device();
        let features = options
            .teacher
            .as_ref()
            .map_or(0.0, |teacher| teacher.features);
        let matcher = teacher.as_ref().filter(|_| features > 0.0).map(|teacher| {
            let width = model.config().hidden_size;
            Matcher {
                norm: LayerNormConfig::new(width).init(&device),
                map: LinearConfig::new(width, teacher.config().hidden_size).init(&device),
            }
        });
        Self {
            model,
            matcher,
            clip,
            options,
            teacher: teacher.map(Arc::new),
            unread: Unread::default(),
            gradient_norm: None,
        }
    }

    /// The same, changing nothing that a checkpoint is still to be made of.
    pub fn with_unread(self, unread: Unread) -> Self {
        Self { unread, ..self }
    }

    fn labelling(&self) -> Labelling {
        self.model.config().labelling
    }

    /// The loss that a step lowers.
    fn training_loss(&self, batch: &ImageBatch) -> Result<Tensor<1>, VisionError> {
        let dropped = DropPath {
            rate: self.options.drop_path,
            seed: self.options.seed ^ (batch.step as u64).rotate_left(32),
        };
        let features = self
            .model
            .features_with(batch.images.clone(), Some(dropped))?;
        let logits = self.model.classify(features.clone())?;
        let labelling = self.labelling();
        let own = cross_entropy(logits.clone(), batch.targets.clone(), labelling);
        let Some(config) = &self.options.teacher else {
            return Ok(own);
        };
        let temperature = config.temperature;
        let (taught, difference) = match self.teacher.as_deref() {
            None => (batch.taught.clone(), None),
            Some(teacher) => {
                let seen = teacher.features(batch.images.clone().inner())?;
                let taught = teacher.classify(seen.clone())?;
                let taught = probabilities(taught, temperature, labelling);
                let difference = self.matcher.as_ref().map(|matcher| {
                    let seen = like(seen.cast(DType::F32), &logits);
                    (matcher.forward(features) - seen).square().mean()
                });
                (Some(taught), difference)
            }
        };
        let Some(taught) = taught else {
            return Ok(own);
        };
        let agreed = divergence(
            logits.clone(),
            like(taught, &logits),
            temperature,
            labelling,
        );
        let learned = match difference {
            None => agreed,
            Some(difference) => agreed * (1.0 - config.features) + difference * config.features,
        };
        Ok(own * (1.0 - config.weight) + learned * config.weight)
    }
}

/// A constant on the device of `other`, with autodiff if that has it.
fn like<const D: usize, const E: usize>(constant: Tensor<D>, other: &Tensor<E>) -> Tensor<D> {
    match other.is_autodiff() && !constant.is_autodiff() {
        true => constant.autodiff(),
        false => constant,
    }
}

/// What cannot fail: the training was checked before it began.
const FITS: &str = "images are as large as those of the model, and on its device";

impl TrainStep for Trainee {
    type Input = ImageBatch;
    type Output = StepReport;

    fn step(&self, batch: ImageBatch) -> TrainOutput<StepReport> {
        let loss = self.training_loss(&batch).expect(FITS);
        let item = StepReport {
            step: batch.step,
            loss: loss.clone().detach(),
            correct: None,
            gradient_norm: self.gradient_norm.clone(),
        };
        TrainOutput {
            grads: GradientsParams::from_grads(loss.backward(), self),
            item,
        }
    }

    fn optimize(
        self,
        optimizer: &mut ModuleOptimizer,
        rate: ModuleLearningRate,
        gradients: GradientsParams,
    ) -> Self {
        self.unread.wait();
        let norm = self.clip.measure(&gradients, &self);
        let mut trained = optimizer.step(rate, self, gradients);
        trained.gradient_norm = Some(norm);
        trained
    }
}

impl InferenceStep for Trainee {
    type Input = ImageBatch;
    type Output = StepReport;

    fn step(&self, batch: ImageBatch) -> StepReport {
        let logits = self.model.logits(batch.images).expect(FITS);
        let labelling = self.labelling();
        let right = match labelling {
            Labelling::Multi => logits
                .clone()
                .greater_elem(0.0)
                .equal(batch.targets.clone().greater_elem(0.5)),
            _ => {
                let guessed = logits.clone().argmax(1);
                guessed.equal(batch.targets.clone().argmax(1))
            }
        };
        StepReport {
            step: batch.step,
            loss: cross_entropy(logits, batch.targets, labelling),
            correct: Some(right.float().mean()),
            gradient_norm: None,
        }
    }
}

/// What is known of a step when its gradients are.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// The step, counted from 1; 0 in validation.
    pub step: usize,
    /// Mean loss, `[1]`.
    pub loss: Tensor<1>,
    /// Share of labels that were guessed, `[1]`; in validation only.
    pub correct: Option<Tensor<1>>,
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
