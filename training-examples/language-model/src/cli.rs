//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::model::{ActivationType, ModelConfig};
use crate::train::TrainConfig;
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
    /// Train a model.
    Train(TrainArgs),
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

/// A model and a training of it; what is not given has its default.
#[derive(Args, Clone, Debug, Default)]
pub struct ConfigArgs {
    /// Text file, or folder of them [default: Rust sources this program is built from]
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Seed of the first weights and of the order of the text.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Number of optimizer steps.
    #[arg(long)]
    pub steps: Option<usize>,
    /// Windows of text a step.
    #[arg(long)]
    pub batch_size: Option<usize>,
    /// Steps from one checkpoint to the next.
    #[arg(long)]
    pub checkpoint_steps: Option<usize>,
    /// Peak learning rate of the first half of the steps.
    #[arg(long)]
    pub learning_rate: Option<f64>,
    /// Peak learning rate of the second half of the steps.
    #[arg(long)]
    pub second_learning_rate: Option<f64>,
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
    /// Bytes the model sees at once.
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
            data: self.data.clone().or(base.data),
            seed: self.seed.unwrap_or(base.seed),
            steps: self.steps.unwrap_or(base.steps),
            batch_size: self.batch_size.unwrap_or(base.batch_size),
            checkpoint_steps: self.checkpoint_steps.unwrap_or(base.checkpoint_steps),
            learning_rate: self.learning_rate.unwrap_or(base.learning_rate),
            second_learning_rate: self
                .second_learning_rate
                .unwrap_or(base.second_learning_rate),
            ..base
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
    /// Bytes to write.
    #[arg(long, default_value_t = 400)]
    pub max_new_tokens: usize,
    /// Below 1 sharpens the choice of each byte, above 1 flattens it.
    #[arg(long, default_value_t = 0.8, value_parser = positive)]
    pub temperature: f32,
    /// Choose among the likeliest so many bytes; 0 means all.
    #[arg(long, default_value_t = 40)]
    pub top_k: usize,
    /// Seed of the choice.
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Always take the likeliest byte.
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
            "{value} is not above 0; --greedy takes the likeliest byte"
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
