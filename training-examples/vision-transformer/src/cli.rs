//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tritburn::device;
use tritburn_models::vision::TernaryLayers;

use crate::data::{AugmentConfig, Mixing};
use crate::train::{ActivationType, ModelConfig, TeacherConfig, TrainConfig};

/// Trains a ternary vision transformer on images, packs it to 2 bits a weight and measures it.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a model.
    Train(TrainArgs),
    /// Measure a trained model, packed and not, on the test images.
    Eval(EvalArgs),
    /// Measure size and speed of a model of random weights.
    Bench(BenchArgs),
    /// All of it on a part of Fashion-MNIST: train, pack, save, load, measure.
    Demo(DemoArgs),
}

/// Where to compute.
#[derive(Args, Clone, Debug)]
pub struct DeviceArgs {
    /// Device: flex, cpu, cuda, rocm, wgpu, vulkan or metal, as far as this build has them.
    #[arg(long, default_value = device::default_name())]
    pub device: String,
}

/// [`TernaryLayers`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TernaryArg {
    /// None: the float twin.
    None,
    /// Those of the feed-forward parts.
    FeedForward,
    /// Those of attention too.
    All,
}

impl From<TernaryArg> for TernaryLayers {
    fn from(arg: TernaryArg) -> Self {
        match arg {
            TernaryArg::None => Self::None,
            TernaryArg::FeedForward => Self::FeedForward,
            TernaryArg::All => Self::All,
        }
    }
}

/// Sizes of a model; what is not given has its default.
#[derive(Args, Clone, Debug, Default)]
pub struct ModelArgs {
    /// Height and width of a patch in pixels.
    #[arg(long)]
    pub patch: Option<usize>,
    /// Width of the residual stream.
    #[arg(long)]
    pub width: Option<usize>,
    /// Number of blocks.
    #[arg(long)]
    pub layers: Option<usize>,
    /// Number of query heads.
    #[arg(long)]
    pub heads: Option<usize>,
    /// Number of key-value heads.
    #[arg(long)]
    pub key_value_heads: Option<usize>,
    /// Inner width of the feed-forward parts.
    #[arg(long)]
    pub inner: Option<usize>,
    /// Which projections have ternary weights.
    #[arg(long, value_enum)]
    pub ternary: Option<TernaryArg>,
    /// A patch sees only those before it, row by row.
    #[arg(long)]
    pub causal: bool,
    /// Type of the activations [default: bf16 on GPUs that have it, else f32]
    #[arg(long, value_enum)]
    pub dtype: Option<ActivationType>,
}

impl ModelArgs {
    /// `base` with what was given here.
    pub fn over(&self, base: ModelConfig) -> ModelConfig {
        ModelConfig {
            patch: self.patch.unwrap_or(base.patch),
            width: self.width.unwrap_or(base.width),
            layers: self.layers.unwrap_or(base.layers),
            heads: self.heads.unwrap_or(base.heads),
            key_value_heads: self.key_value_heads.unwrap_or(base.key_value_heads),
            inner: self.inner.unwrap_or(base.inner),
            ternary: self.ternary.map_or(base.ternary, Into::into),
            causal: self.causal || base.causal,
            dtype: self.dtype.or(base.dtype),
        }
    }
}

/// A model and a training of it; what is not given has its default.
#[derive(Args, Clone, Debug, Default)]
pub struct ConfigArgs {
    /// Folder of idx files or of images by class, or an `.npz` file of MedMNIST [default: Fashion-MNIST where
    /// Debian's package dataset-fashion-mnist installs it]
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Names of the classes, where the data do not tell: a,b,c
    #[arg(long, value_delimiter = ',')]
    pub classes: Option<Vec<String>>,
    /// Resize the images of folders to so many pixels each way, and convert their pixels.
    #[arg(long)]
    pub image_size: Option<usize>,
    /// Channels of the images of folders, 1 or 3 [default: 3]
    #[arg(long)]
    pub channels: Option<usize>,
    /// Train on so many images only.
    #[arg(long)]
    pub subset: Option<usize>,
    /// Seed of the first weights, of the order of the images and of what is changed about them.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Number of optimizer steps.
    #[arg(long)]
    pub steps: Option<usize>,
    /// Images a step.
    #[arg(long)]
    pub batch_size: Option<usize>,
    /// Steps from one checkpoint to the next.
    #[arg(long)]
    pub checkpoint_steps: Option<usize>,
    /// Steps over which the learning rate rises to its peak.
    #[arg(long)]
    pub warmup_steps: Option<usize>,
    /// Peak learning rate, which falls to 0 as a cosine.
    #[arg(long)]
    pub learning_rate: Option<f64>,
    /// Weight decay of matrices.
    #[arg(long)]
    pub weight_decay: Option<f64>,
    /// Norm to which all gradients together are clipped.
    #[arg(long)]
    pub gradient_norm: Option<f32>,
    /// Share of branches of blocks that are left out.
    #[arg(long)]
    pub drop_path: Option<f64>,
    /// Share of every label that is given to all classes alike.
    #[arg(long)]
    pub label_smoothing: Option<f32>,
    /// Smallest share of an image that a random crop keeps; 1 for no crop.
    #[arg(long)]
    pub crop: Option<f64>,
    /// Do not mirror images.
    #[arg(long)]
    pub no_flip: bool,
    /// How images are mixed with each other.
    #[arg(long, value_enum)]
    pub mixing: Option<Mixing>,
    /// α of the Beta distribution of the share that an image keeps.
    #[arg(long)]
    pub mixing_alpha: Option<f64>,
    /// Learn from a teacher too: the `model` folder of a training, or a safetensors file of `logits`, F32
    /// `[training images, classes]`, as `eval --logits` writes it.
    #[arg(long)]
    pub teacher: Option<PathBuf>,
    /// Share of the loss that is the teacher's.
    #[arg(long, default_value_t = 0.5, requires = "teacher")]
    pub teacher_weight: f32,
    /// Share of that which is the difference of the last features; 0 for a file of logits.
    #[arg(long, default_value_t = 0.5, requires = "teacher")]
    pub feature_weight: f32,
    /// What the logits of both are divided by.
    #[arg(long, default_value_t = 2.0, requires = "teacher")]
    pub temperature: f32,
    /// Sizes of the model.
    #[command(flatten)]
    pub model: ModelArgs,
}

impl ConfigArgs {
    /// `base` with what was given here.
    pub fn over(&self, base: TrainConfig) -> TrainConfig {
        let augment = base.augment;
        let teacher = self.teacher.clone().map(|path| TeacherConfig {
            path,
            weight: self.teacher_weight,
            features: self.feature_weight,
            temperature: self.temperature,
        });
        TrainConfig {
            model: self.model.over(base.model),
            augment: AugmentConfig {
                crop: self.crop.unwrap_or(augment.crop),
                flip: augment.flip && !self.no_flip,
                mixing: self.mixing.unwrap_or(augment.mixing),
                mixing_alpha: self.mixing_alpha.unwrap_or(augment.mixing_alpha),
            },
            teacher: teacher.or(base.teacher),
            data: self.data.clone().or(base.data),
            classes: self.classes.clone().or(base.classes),
            image_size: self.image_size.or(base.image_size),
            channels: self.channels.or(base.channels),
            subset: self.subset.or(base.subset),
            seed: self.seed.unwrap_or(base.seed),
            steps: self.steps.unwrap_or(base.steps),
            batch_size: self.batch_size.unwrap_or(base.batch_size),
            checkpoint_steps: self.checkpoint_steps.unwrap_or(base.checkpoint_steps),
            warmup_steps: self.warmup_steps.unwrap_or(base.warmup_steps),
            learning_rate: self.learning_rate.unwrap_or(base.learning_rate),
            weight_decay: self.weight_decay.unwrap_or(base.weight_decay),
            gradient_norm: self.gradient_norm.unwrap_or(base.gradient_norm),
            drop_path: self.drop_path.unwrap_or(base.drop_path),
            label_smoothing: self.label_smoothing.unwrap_or(base.label_smoothing),
        }
    }
}

/// Arguments of `train`.
#[derive(Args, Debug)]
pub struct TrainArgs {
    /// Folder of the training: configuration, checkpoints, losses, model.
    #[arg(long)]
    pub output: PathBuf,
    /// Go on from the newest checkpoint in the folder; its options are kept.
    #[arg(long)]
    pub resume: bool,
    /// Model and training.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Where to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// Arguments of `eval`.
#[derive(Args, Debug)]
pub struct EvalArgs {
    /// Folder of the training.
    #[arg(long)]
    pub output: PathBuf,
    /// Write the model's logits of all training images to this safetensors file, for `train --teacher`.
    #[arg(long, value_name = "FILE")]
    pub logits: Option<PathBuf>,
    /// Where to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// Arguments of `bench`.
#[derive(Args, Debug)]
pub struct BenchArgs {
    /// Height and width of the images in pixels.
    #[arg(long, default_value_t = 224)]
    pub image_size: usize,
    /// Channels of the images.
    #[arg(long, default_value_t = 3)]
    pub channels: usize,
    /// Number of classes.
    #[arg(long, default_value_t = 10)]
    pub classes: usize,
    /// Images at a time, one number or several.
    #[arg(long, value_delimiter = ',', default_values = ["1", "256"])]
    pub batch: Vec<NonZeroUsize>,
    /// Sizes of the model [default: those of BitMedViT]
    #[command(flatten)]
    pub model: ModelArgs,
    /// Report as one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Where to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// Arguments of `demo`.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Folder of the demo; an earlier demo in it is replaced.
    #[arg(long, default_value = "target/vision-demo")]
    pub output: PathBuf,
    /// Model and training.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Where to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_not_given_keep_what_was_saved() {
        let saved = TrainConfig::new(
            ModelConfig::new().with_layers(7),
            AugmentConfig {
                flip: false,
                ..AugmentConfig::default()
            },
        );
        let saved = saved.with_steps(9);
        let given = ConfigArgs {
            seed: Some(1),
            crop: Some(0.9),
            ..Default::default()
        };
        let config = given.over(saved.clone());
        assert_eq!((config.seed, config.augment.crop), (1, 0.9));
        assert_eq!((config.model.layers, config.steps), (7, 9));
        assert!(!config.augment.flip);
        assert_eq!(ConfigArgs::default().over(saved.clone()), saved);
    }
}
