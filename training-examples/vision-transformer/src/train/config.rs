//! Everything that decides a training.

use std::path::PathBuf;

use burn::config::Config;
use burn::tensor::{DType, Device};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use training_run::Steps;
use tritburn_models::vision::{TernaryLayers, VisionConfig, VisionTransformer};

use super::RunError;
use super::schedule::Schedule;
use crate::data::{AugmentConfig, DataError, Dataset, Options, Plan};
use crate::error::Error;

/// Sizes of the model; what images and classes are comes from the data. The defaults are for Fashion-MNIST on
/// a GPU.
#[derive(Config, Debug, PartialEq)]
pub struct ModelConfig {
    /// Height and width of a patch in pixels.
    #[config(default = 4)]
    pub patch: usize,
    /// Width of the residual stream.
    #[config(default = 192)]
    pub width: usize,
    /// Number of blocks.
    #[config(default = 6)]
    pub layers: usize,
    /// Number of query heads.
    #[config(default = 6)]
    pub heads: usize,
    /// Number of key-value heads.
    #[config(default = 1)]
    pub key_value_heads: usize,
    /// Inner width of the feed-forward parts.
    #[config(default = 768)]
    pub inner: usize,
    /// Which projections are ternary.
    #[config(default = "TernaryLayers::FeedForward")]
    pub ternary: TernaryLayers,
    /// Whether a patch sees only those before it.
    #[config(default = false)]
    pub causal: bool,
    /// Type of the activations; without one, what the device trains best in.
    pub dtype: Option<ActivationType>,
}

impl ModelConfig {
    /// BitMedViT's sizes (arXiv 2510.13760), for images of 224 pixels.
    pub fn bitmedvit() -> Self {
        Self::new()
            .with_patch(7)
            .with_width(512)
            .with_layers(3)
            .with_heads(8)
            .with_inner(2048)
    }

    /// The configuration of the model, but for images and classes.
    pub fn sizes(&self) -> VisionConfig {
        VisionConfig {
            patch_size: self.patch,
            hidden_size: self.width,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            num_key_value_heads: self.key_value_heads,
            intermediate_size: self.inner,
            ternary: self.ternary,
            causal: self.causal,
            ..VisionConfig::new(1, [""; 0])
        }
    }

    /// Type of the activations on `device`.
    pub fn dtype(&self, device: &Device) -> DType {
        match self.dtype {
            None => VisionTransformer::dtype_for(device),
            Some(ActivationType::F32) => DType::F32,
            Some(ActivationType::Bf16) => DType::BF16,
        }
    }
}

/// Type of the activations; weights and optimizer are f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActivationType {
    /// 32 bits.
    F32,
    /// bfloat16.
    Bf16,
}

/// What to learn from besides the labels, and how much it counts. The loss is
/// `(1 - weight) · CE + weight · ((1 - features) · T² · KL + features · MSE)`, as BitMedViT's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TeacherConfig {
    /// Folder of a model, or a safetensors file of the `logits` of all training images.
    pub path: PathBuf,
    /// Share of the loss that is the teacher's.
    pub weight: f32,
    /// Share of that which is the difference of the last features; 0 for a file of logits.
    pub features: f32,
    /// What the logits of both are divided by.
    pub temperature: f32,
}

/// Everything that decides a training, saved as `config.json` in its folder.
#[derive(Config, Debug, PartialEq)]
pub struct TrainConfig {
    /// Sizes of the model.
    pub model: ModelConfig,
    /// How images are changed.
    pub augment: AugmentConfig,
    /// A teacher.
    pub teacher: Option<TeacherConfig>,
    /// Folder of idx files or of images, or an `.npz` file; without one, Fashion-MNIST where Debian's package
    /// installs it.
    pub data: Option<PathBuf>,
    /// Names of the classes, where the data do not tell.
    pub classes: Option<Vec<String>>,
    /// Height and width that images of folders are resized to.
    pub image_size: Option<usize>,
    /// Channels that images of folders are converted to.
    pub channels: Option<usize>,
    /// Train on so many images only.
    pub subset: Option<usize>,
    /// Seed of the first weights, of the order of the images and of what is changed about them.
    #[config(default = 42)]
    pub seed: u64,
    /// Number of optimizer steps.
    #[config(default = 8000)]
    pub steps: usize,
    /// Images a step.
    #[config(default = 256)]
    pub batch_size: usize,
    /// Steps from one checkpoint to the next.
    #[config(default = 400)]
    pub checkpoint_steps: usize,
    /// Steps over which the learning rate rises to its peak.
    #[config(default = 400)]
    pub warmup_steps: usize,
    /// Peak learning rate, which falls to 0 as a cosine.
    #[config(default = 1e-3)]
    pub learning_rate: f64,
    /// Weight decay of matrices.
    #[config(default = 0.05)]
    pub weight_decay: f64,
    /// Norm to which all gradients together are clipped.
    #[config(default = 1.0)]
    pub gradient_norm: f32,
    /// Share of branches of blocks that are left out.
    #[config(default = 0.1)]
    pub drop_path: f64,
    /// Share of every label that is given to all classes alike.
    #[config(default = 0.1)]
    pub label_smoothing: f32,
}

impl TrainConfig {
    /// Checks what can be wrong on its own.
    ///
    /// # Errors
    /// [`RunError::ZeroSteps`], or [`Error::OutOfRange`], naming the option.
    pub fn validate(&self) -> Result<(), Error> {
        let counts = [
            ("steps", self.steps),
            ("batch-size", self.batch_size),
            ("checkpoint-steps", self.checkpoint_steps),
            ("subset", self.subset.unwrap_or(1)),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(RunError::ZeroSteps { name }.into());
        }
        let teacher = self.teacher.as_ref();
        let of_teacher = |value: fn(&TeacherConfig) -> f32| f64::from(teacher.map_or(0.5, value));
        for (name, value, range) in [
            ("crop", self.augment.crop, 0.01..=1.0),
            ("mixing-alpha", self.augment.mixing_alpha, 0.01..=100.0),
            ("learning-rate", self.learning_rate, 0.0..=10.0),
            ("weight-decay", self.weight_decay, 0.0..=10.0),
            ("drop-path", self.drop_path, 0.0..=0.9),
            ("label-smoothing", self.label_smoothing.into(), 0.0..=0.9),
            ("gradient-norm", self.gradient_norm.into(), 1e-6..=1e6),
            ("teacher-weight", of_teacher(|t| t.weight), 0.0..=1.0),
            ("feature-weight", of_teacher(|t| t.features), 0.0..=1.0),
            ("temperature", of_teacher(|t| t.temperature), 0.01..=100.0),
        ] {
            if !range.contains(&value) {
                let (low, high) = range.into_inner();
                return Err(Error::OutOfRange {
                    name,
                    value,
                    low,
                    high,
                });
            }
        }
        Ok(())
    }

    /// The images.
    ///
    /// # Errors
    /// [`DataError`], naming the file.
    pub fn dataset(&self) -> Result<Dataset, DataError> {
        let options = Options {
            image_size: self.image_size,
            channels: self.channels,
            classes: self.classes.clone(),
            subset: self.subset,
            seed: self.seed,
        };
        Dataset::load(self.data.as_deref(), &options)
    }

    /// Learning rate and weight decay of every step.
    pub fn schedule(&self) -> Schedule {
        Schedule {
            steps: self.steps,
            warmup_steps: self.warmup_steps,
            learning_rate: self.learning_rate,
            weight_decay: self.weight_decay,
        }
    }

    /// The images of every step.
    pub fn plan(&self) -> Plan {
        Plan {
            seed: self.seed,
            batch_size: self.batch_size,
            steps: Steps {
                all: self.steps,
                epoch: self.checkpoint_steps,
            },
        }
    }
}
