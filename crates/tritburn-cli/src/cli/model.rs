//! Which model runs, and how.

use std::fmt;
use std::path::PathBuf;

use burn::tensor::DType;
use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use tritburn::device;
use tritburn_models::model::{HeadPrecision, Precision};

/// What a file of a model has wrong, or lacks.
#[derive(Args, Debug, Default)]
pub struct OverrideArgs {
    /// Take VALUE for a key of config.json (nested ones with dots), or of GGUF metadata (with or without
    /// the name of the architecture): rope_theta=500000, hidden_act=relu2, eos_token_id=2,
    /// quantization_config.linear_class=autobitlinear, quantization=online (a BitNet whose
    /// quantization_config was dropped), inputs=float, tritburn.i2_s_order=neon64. May be given several
    /// times.
    #[arg(long = "override", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
}

/// The model and the device it runs on.
#[derive(Args, Debug)]
pub struct ModelArgs {
    /// Folder or file of the model.
    #[arg(
        long,
        short,
        value_name = "DIR|FILE",
        required_unless_present = "synthetic"
    )]
    pub model: Option<PathBuf>,

    /// Random weights in the shapes of a published model instead: for measuring without a download.
    #[arg(long, value_name = "SHAPE", conflicts_with = "model")]
    pub synthetic: Option<Shape>,

    #[command(flatten)]
    pub overrides: OverrideArgs,

    /// Device to run on.
    #[arg(long, default_value = device::default_name(), help_heading = "Device and precision")]
    pub device: String,

    /// What the layers multiply. Default: as the model was trained.
    #[arg(long, value_enum, help_heading = "Device and precision")]
    pub precision: Option<PrecisionArg>,

    /// Type of hidden states. Default: bf16 on GPUs that have it, else f32.
    #[arg(long, value_enum, help_heading = "Device and precision")]
    pub dtype: Option<DTypeArg>,

    /// Type of cached keys and values, CPU (flex) only. Default: that of the hidden states.
    #[arg(long, value_enum, help_heading = "Device and precision")]
    pub cache_dtype: Option<DTypeArg>,

    /// Precision of the output head, most of what a token reads. int8 halves it, for logits that are off by
    /// about half a percent of their scale; int6 and int4 (CPU only) read 0.41 and 0.28 of 16 bits.
    #[arg(
        long,
        value_enum,
        default_value = "stored",
        help_heading = "Device and precision"
    )]
    pub head: HeadArg,
}

/// Shapes of published models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// microsoft/bitnet-b1.58-2B-4T: 30 layers of 2560, vocabulary 128256.
    #[value(name = "2b-4t")]
    B2T4,
    /// HF1BitLLM/Llama3-8B-1.58: 32 layers of 4096, vocabulary 128256, a head of its own.
    #[value(name = "llama3-8b")]
    Llama38B,
    /// tiiuae/Falcon3-10B-Instruct-1.58bit: 40 layers of 3072, heads of 256, vocabulary 131072.
    #[value(name = "falcon3-10b")]
    Falcon310B,
    /// Two layers of 128 and a vocabulary of 512, for trying things out.
    Tiny,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        write!(f, "{}", value.as_ref().map_or("?", PossibleValue::get_name))
    }
}

/// [`Precision`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PrecisionArg {
    /// 2-bit weights, int8 activations.
    W2a8,
    /// 2-bit weights, float activations.
    W2a16,
    /// Dense float weights, nothing quantised.
    Dense,
}

impl From<PrecisionArg> for Precision {
    fn from(arg: PrecisionArg) -> Self {
        match arg {
            PrecisionArg::W2a8 => Self::W2A8,
            PrecisionArg::W2a16 => Self::W2A16,
            PrecisionArg::Dense => Self::Dense,
        }
    }
}

/// [`HeadPrecision`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HeadArg {
    /// As the model stores it.
    Stored,
    /// Int8, one scale per vocabulary entry.
    Int8,
    /// 6 bits, a scale per 16 weights (Q6_K). CPU only.
    Int6,
    /// 4 bits, a scale and a minimum per 32 weights (Q4_K). CPU only.
    Int4,
}

impl From<HeadArg> for HeadPrecision {
    fn from(arg: HeadArg) -> Self {
        match arg {
            HeadArg::Stored => Self::Stored,
            HeadArg::Int8 => Self::Int8,
            HeadArg::Int6 => Self::Int6,
            HeadArg::Int4 => Self::Int4,
        }
    }
}

/// [`DType`] of hidden states, keys and values on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DTypeArg {
    F32,
    F16,
    Bf16,
}

impl From<DTypeArg> for DType {
    fn from(arg: DTypeArg) -> Self {
        match arg {
            DTypeArg::F32 => Self::F32,
            DTypeArg::F16 => Self::F16,
            DTypeArg::Bf16 => Self::BF16,
        }
    }
}
