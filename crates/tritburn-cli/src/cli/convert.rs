//! `tritburn convert`

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use tritburn_formats::affine::Bits;
use tritburn_formats::codec::gguf::k_quant::KQuant;
use tritburn_formats::quantize::affine::{AffineMethod, AffineQuantizer, HalfQuadratic};
use tritburn_models::checkpoint::FloatType;
use tritburn_models::convert::{TableType, Target};

use super::OverrideArgs;

/// Convert a model to another format.
///
/// What was written is read back and compared, tensor by tensor. A step that would lose something
/// (a scale that the target rounds, an end token that it has no place for) is refused and listed, unless
/// --allow-lossy is given. One tensor is in memory at a time.
#[derive(Args, Debug)]
pub struct ConvertArgs {
    /// Folder or file of the model; synthetic:2b-4t and synthetic:tiny are random weights.
    pub input: PathBuf,

    #[command(flatten)]
    pub overrides: OverrideArgs,

    /// Folder or file to write.
    pub output: PathBuf,

    /// Format to write.
    #[arg(long, value_parser = target())]
    pub to: Target,

    /// Type to write embedding and output head in.
    #[arg(long, value_enum, value_name = "TYPE", default_value = "exact")]
    pub embedding: EmbeddingArg,

    /// Round the weights of a plain float model to so many bits, with a scale and, unless the method is
    /// symmetric, a zero point per group (--to tritburn). Embedding and output head stay float.
    #[arg(long, value_enum, value_name = "BITS")]
    pub weights: Option<WeightsArg>,

    /// Inputs that share a scale and a zero point: a multiple of 16, or 0 for a whole row.
    #[arg(
        long,
        value_name = "INPUTS",
        default_value_t = 128,
        requires = "weights"
    )]
    pub group: usize,

    /// How scales and zero points are found.
    #[arg(long, value_enum, default_value = "round", requires = "weights")]
    pub method: MethodArg,

    /// Keep the 16 largest weights of every 32 inputs, and a mask that says which: for int4, and groups of a
    /// multiple of 32.
    #[arg(long, requires = "weights")]
    pub sparse: bool,

    /// Go on where the target cannot hold a value exactly.
    #[arg(long)]
    pub allow_lossy: bool,

    /// Replace an earlier output: a file by a file, a folder by a folder, and only a folder that is
    /// empty or holds a model and nothing that convert does not write.
    #[arg(long)]
    pub force: bool,

    /// Report as one JSON object.
    #[arg(long)]
    pub json: bool,
}

impl ConvertArgs {
    /// What float weights are rounded to, if they are.
    pub fn quantizer(&self) -> Option<AffineQuantizer> {
        let bits = match self.weights? {
            WeightsArg::Int2 => Bits::Two,
            WeightsArg::Int3 => Bits::Three,
            WeightsArg::Int4 => Bits::Four,
        };
        let group_size = (self.group > 0).then_some(self.group);
        let method = match self.method {
            MethodArg::Round => AffineMethod::Round,
            MethodArg::Symmetric => AffineMethod::RoundSymmetric,
            MethodArg::Hqq => AffineMethod::HalfQuadratic(HalfQuadratic::default()),
        };
        let quantizer = AffineQuantizer::new(bits, group_size).with_method(method);
        Some(match self.sparse {
            true => quantizer.with_sparsity(),
            false => quantizer,
        })
    }
}

/// Bits of weights with groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WeightsArg {
    /// 4.25 bits a weight with groups of 128.
    Int4,
    /// 3.25 bits a weight with groups of 128.
    Int3,
    /// 2.25 bits a weight with groups of 128.
    Int2,
}

/// Ways to find scales and zero points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MethodArg {
    /// The least squared error of the weights; zero points are integers.
    Round,
    /// The same without zero points.
    Symmetric,
    /// Half-quadratic quantisation (HQQ): real zero points, outliers weigh less.
    Hqq,
}

/// The formats that `convert` writes, by name.
fn target() -> impl TypedValueParser<Value = Target> {
    let value = |target: Target| PossibleValue::new(target.name()).help(target.description());
    PossibleValuesParser::new(Target::ALL.map(value)).try_map(|name| name.parse::<Target>())
}

/// [`TableType`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EmbeddingArg {
    /// One that holds every value: the model's own; in GGUF the blocks of a GGUF file, else f16 if that does.
    Exact,
    F16,
    Bf16,
    F32,
    /// 6.6 bits a weight, in GGUF.
    #[value(name = "q6_k")]
    Q6K,
    /// 5.5 bits a weight, in GGUF.
    #[value(name = "q5_k")]
    Q5K,
    /// 4.5 bits a weight, in GGUF.
    #[value(name = "q4_k")]
    Q4K,
}

impl From<EmbeddingArg> for TableType {
    fn from(arg: EmbeddingArg) -> Self {
        match arg {
            EmbeddingArg::Exact => Self::Exact,
            EmbeddingArg::F16 => Self::Of(FloatType::F16),
            EmbeddingArg::Bf16 => Self::Of(FloatType::BF16),
            EmbeddingArg::F32 => Self::Of(FloatType::F32),
            EmbeddingArg::Q6K => Self::Blocks(KQuant::Q6K),
            EmbeddingArg::Q5K => Self::Blocks(KQuant::Q5K),
            EmbeddingArg::Q4K => Self::Blocks(KQuant::Q4K),
        }
    }
}
