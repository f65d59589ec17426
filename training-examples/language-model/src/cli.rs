//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::model::{ActivationType, ModelConfig};
use crate::train::{OptimizerKind, Place, TrainConfig};
use tritburn::device;

/// Trains a small 1.58-bit language model on text, packs it to 2 bits a weight and writes with it.
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
    /// Turn text into files of tokens, for texts that are larger than memory or trained on often.
    Tokenize(TokenizeArgs),
    /// Train a model.
    Train(TrainArgs),
    /// Train a published or trained model further: on conversations, or on text.
    Finetune(FinetuneArgs),
    /// Pack a trained model to 2 bits a weight.
    Pack(ModelArgs),
    /// Write text with a trained model, packed if `pack` was run.
    Generate(GenerateArgs),
    /// Measure a trained model on held-out text.
    Eval(ModelArgs),
    /// All of it: train, pack, save, load, write, and a report of how it went.
    Demo(DemoArgs),
}

/// Where to compute.
#[derive(Args, Clone, Debug)]
pub struct DeviceArgs {
    /// Device: flex, cpu, cuda, rocm, wgpu, vulkan or metal, as far as this build has them.
    #[arg(long, default_value = device::default_name())]
    pub device: String,
}

/// Where to train.
#[derive(Args, Clone, Debug)]
pub struct PlaceArgs {
    /// Device: flex, cpu, cuda, rocm, wgpu, vulkan or metal, as far as this build has them.
    #[arg(long, default_value = device::default_name())]
    pub device: String,
    /// Train on the first so many CUDA devices at once: they divide every step and add up their gradients
    /// (NCCL)
    #[arg(long)]
    pub devices: Option<usize>,
}

impl PlaceArgs {
    /// Opens the devices.
    ///
    /// # Errors
    /// [`DeviceError`](device::DeviceError).
    pub fn open(&self) -> Result<Place, device::DeviceError> {
        Place::open(&self.device, self.devices)
    }
}

/// A model and a training of it; what is not given has its default.
#[derive(Args, Clone, Debug, Default)]
pub struct ConfigArgs {
    /// Text or JSON-lines (`text`) file, folder of them, or folder that `tokenize` wrote [default: Rust
    /// sources this program is built from]
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// `tokenizer.json`, or a folder with one [default: tokens are bytes]
    #[arg(long)]
    pub tokenizer: Option<PathBuf>,
    /// Seed of the first weights and of the order of the text.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Number of optimizer steps.
    #[arg(long)]
    pub steps: Option<usize>,
    /// Windows of text a step.
    #[arg(long)]
    pub batch_size: Option<usize>,
    /// Windows in memory at once: a step adds up the gradients of its parts [default: all of a step]
    #[arg(long)]
    pub micro_batch_size: Option<usize>,
    /// Steps from one checkpoint to the next.
    #[arg(long)]
    pub checkpoint_steps: Option<usize>,
    /// Steps over which the learning rate rises to its peak.
    #[arg(long)]
    pub warmup_steps: Option<usize>,
    /// What moves the matrices of the layers [default: adamw]
    #[arg(long, value_enum)]
    pub optimizer: Option<OptimizerKind>,
    /// Peak learning rate of the first half of the steps.
    #[arg(long)]
    pub learning_rate: Option<f64>,
    /// Peak learning rate of the second half of the steps.
    #[arg(long)]
    pub second_learning_rate: Option<f64>,
    /// Weight decay that the first half rises to; the second half has none.
    #[arg(long)]
    pub weight_decay: Option<f64>,
    /// Norm to which all gradients together are clipped.
    #[arg(long)]
    pub gradient_norm: Option<f32>,
    /// Width of the residual stream.
    #[arg(long)]
    pub d_model: Option<usize>,
    /// Inner width of the feed-forward part.
    #[arg(long)]
    pub d_ff: Option<usize>,
    /// Number of blocks.
    #[arg(long)]
    pub layers: Option<usize>,
    /// Number of attention heads.
    #[arg(long)]
    pub heads: Option<usize>,
    /// Tokens the model sees at once.
    #[arg(long)]
    pub context: Option<usize>,
    /// Train the float twin: the same data and steps with float projections.
    #[arg(long)]
    pub dense: bool,
    /// Type of the activations [default: bf16 on GPUs that have it, else f32]
    #[arg(long, value_enum)]
    pub dtype: Option<ActivationType>,
}

impl ConfigArgs {
    /// `base` with what was given here.
    pub fn over(&self, base: TrainConfig) -> TrainConfig {
        let model = base.model;
        TrainConfig {
            model: ModelConfig {
                d_model: self.d_model.unwrap_or(model.d_model),
                d_ff: self.d_ff.unwrap_or(model.d_ff),
                layers: self.layers.unwrap_or(model.layers),
                heads: self.heads.unwrap_or(model.heads),
                context: self.context.unwrap_or(model.context),
                dense: self.dense || model.dense,
                dtype: self.dtype.or(model.dtype),
                ..model
            },
            base: base.base,
            teacher: base.teacher,
            data: self.data.clone().or(base.data),
            tokenizer: self.tokenizer.clone().or(base.tokenizer),
            chat_template: base.chat_template,
            seed: self.seed.unwrap_or(base.seed),
            steps: self.steps.unwrap_or(base.steps),
            batch_size: self.batch_size.unwrap_or(base.batch_size),
            micro_batch_size: self.micro_batch_size.or(base.micro_batch_size),
            checkpoint_steps: self.checkpoint_steps.unwrap_or(base.checkpoint_steps),
            warmup_steps: self.warmup_steps.unwrap_or(base.warmup_steps),
            quantization_steps: base.quantization_steps,
            optimizer: self.optimizer.or(base.optimizer),
            weight_decay: self.weight_decay.unwrap_or(base.weight_decay),
            gradient_norm: self.gradient_norm.unwrap_or(base.gradient_norm),
            learning_rate: self.learning_rate.unwrap_or(base.learning_rate),
            second_learning_rate: self
                .second_learning_rate
                .unwrap_or(base.second_learning_rate),
        }
    }
}

/// Arguments of `tokenize`.
#[derive(Args, Debug)]
pub struct TokenizeArgs {
    /// Text or JSON-lines (`text`) file, or folder of them.
    #[arg(long)]
    pub data: PathBuf,
    /// Folder for the tokens and their tokenizer; `train --data` takes it.
    #[arg(long)]
    pub output: PathBuf,
    /// `tokenizer.json`, or a folder with one [default: tokens are bytes]
    #[arg(long, conflicts_with = "bpe")]
    pub tokenizer: Option<PathBuf>,
    /// Train a byte-level BPE tokenizer of so many tokens on the text, and use it.
    #[arg(long)]
    pub bpe: Option<usize>,
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
    /// Begin with the options of this file, the `config.json` of another training; options given here go
    /// before.
    #[arg(long = "config", value_name = "FILE", conflicts_with = "resume")]
    pub config_file: Option<PathBuf>,
    /// Model and training.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Where to compute.
    #[command(flatten)]
    pub device: PlaceArgs,
}

/// Arguments of `finetune`.
///
/// The model needs its float weights (`quantization_mode: online`, such as
/// `bitnet-b1.58-2B-4T-bf16`, or what `train` left); a packed one has none. Conversations are JSON lines
/// of `messages`, written with the model's chat template; what the assistant says is learned, all else
/// is only read. Text is learned whole.
#[derive(Args, Debug)]
pub struct FinetuneArgs {
    /// Folder of the training: configuration, checkpoints, losses, model.
    #[arg(long)]
    pub output: PathBuf,
    /// Go on from the newest checkpoint in the folder; its options are kept.
    #[arg(long, conflicts_with_all = ["model", "data"])]
    pub resume: bool,
    /// Folder or file of the model.
    #[arg(long, required_unless_present = "resume")]
    pub model: Option<PathBuf>,
    /// JSON lines of `messages`; or text or JSON lines of `text`, or a folder of them.
    #[arg(long, required_unless_present = "resume")]
    pub data: Option<PathBuf>,
    /// File with the chat's template (Jinja) instead of the model's; what is trained brings it along.
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    pub chat_template: Option<PathBuf>,
    /// Make a ternary model of a plain float one, little by little.
    #[arg(long)]
    pub ternarize: bool,
    /// Steps over which --ternarize goes from floats to codes [default: a third of the steps, at most
    /// 1000]
    #[arg(long, requires = "ternarize")]
    pub quantization_steps: Option<usize>,
    /// Folder or file of a model to learn from besides the data, with the same tokens: the logits of both
    /// come together. Packed ones serve too.
    #[arg(long)]
    pub teacher: Option<PathBuf>,
    /// Factor of the divergence from the teacher.
    #[arg(long, default_value_t = 1.0, requires = "teacher")]
    pub teacher_weight: f32,
    /// What the logits of both are divided by: above 1, what the teacher holds for unlikely counts more.
    #[arg(long, default_value_t = 2.0, value_parser = positive, requires = "teacher")]
    pub temperature: f32,
    /// Seed of the order of the data.
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// What moves the matrices of the layers [default: adamw]
    #[arg(long, value_enum)]
    pub optimizer: Option<OptimizerKind>,
    /// Number of optimizer steps.
    #[arg(long, default_value_t = 200)]
    pub steps: usize,
    /// Conversations, or windows of text, a step.
    #[arg(long, default_value_t = 8)]
    pub batch_size: usize,
    /// Those in memory at once: a step adds up the gradients of its parts [default: all of a step]
    #[arg(long)]
    pub micro_batch_size: Option<usize>,
    /// Steps from one checkpoint to the next.
    #[arg(long, default_value_t = 50)]
    pub checkpoint_steps: usize,
    /// Steps over which the learning rate rises to its peak.
    #[arg(long, default_value_t = 20)]
    pub warmup_steps: usize,
    /// Peak learning rate.
    #[arg(long, default_value_t = 2e-4)]
    pub learning_rate: f64,
    /// Weight decay.
    #[arg(long, default_value_t = 0.0)]
    pub weight_decay: f64,
    /// Norm to which all gradients together are clipped.
    #[arg(long, default_value_t = 1.0)]
    pub gradient_norm: f32,
    /// Most tokens of a conversation, or of a window [default: 1024, or what the model has room for]
    #[arg(long)]
    pub context: Option<usize>,
    /// Type of the activations [default: bf16 on GPUs that have it, else f32]
    #[arg(long, value_enum)]
    pub dtype: Option<ActivationType>,
    /// Where to compute.
    #[command(flatten)]
    pub device: PlaceArgs,
}

/// Arguments of `pack` and `eval`.
#[derive(Args, Debug)]
pub struct ModelArgs {
    /// Folder of the training.
    #[arg(long)]
    pub output: PathBuf,
    /// Where to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// Arguments of `generate`.
#[derive(Args, Debug)]
pub struct GenerateArgs {
    /// Folder of the training.
    #[arg(long)]
    pub output: PathBuf,
    /// Text to go on from.
    #[arg(long, default_value = "")]
    pub prompt: String,
    /// Tokens to write.
    #[arg(long, default_value_t = 400)]
    pub max_new_tokens: usize,
    /// Below 1 sharpens the choice of each token, above 1 flattens it.
    #[arg(long, default_value_t = 0.8, value_parser = positive)]
    pub temperature: f32,
    /// Choose among the likeliest so many tokens; 0 means all.
    #[arg(long, default_value_t = 40)]
    pub top_k: usize,
    /// Seed of the choice.
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Always take the likeliest token.
    #[arg(long)]
    pub greedy: bool,
    /// Where to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// Arguments of `demo`.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Folder of the demo; an earlier demo in it is replaced.
    #[arg(long)]
    pub output: PathBuf,
    /// Model and training.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Where to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}

fn positive(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value),
        Ok(value) => Err(format!(
            "{value} is not above 0; --greedy takes the likeliest token"
        )),
        Err(error) => Err(error.to_string()),
    }
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
        let saved = TrainConfig::new(ModelConfig::new().with_layers(7)).with_steps(9);
        let given = ConfigArgs {
            seed: Some(1),
            d_ff: Some(8),
            ..Default::default()
        };
        let config = given.over(saved.clone());
        assert_eq!((config.seed, config.model.d_ff), (1, 8));
        assert_eq!((config.model.layers, config.steps), (7, 9));
        assert_eq!(ConfigArgs::default().over(saved.clone()), saved);
    }

    #[test]
    fn a_temperature_of_zero_is_refused_with_the_way_out() {
        assert!(positive("0").unwrap_err().contains("--greedy"));
        assert!(positive("nan").is_err() && positive("x").is_err());
        assert_eq!(positive("0.5"), Ok(0.5));
    }
}
