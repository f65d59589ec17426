//! `tritburn convert`

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Convert a model to another format.
///
/// What was written is read back and compared, tensor by tensor. A step that would lose something
/// (a scale that the target rounds, an end token that it has no place for) is refused and listed, unless
/// --allow-lossy is given. One tensor is in memory at a time.
#[derive(Args, Debug)]
pub struct ConvertArgs {
    /// Folder or file of the model; synthetic:2b-4t and synthetic:tiny are random weights.
    pub input: PathBuf,

    /// Folder or file to write.
    pub output: PathBuf,

    /// Format to write.
    #[arg(long, value_enum)]
    pub to: Target,

    /// Type to write embedding and output head in.
    #[arg(long, value_enum, value_name = "TYPE", default_value = "exact")]
    pub embedding: EmbeddingType,

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

/// Formats that `convert` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// Hugging Face folder, uint8 codes: transformers, and most else.
    Hf,
    /// GGUF with TQ1_0 layers, 1.69 bits a weight: llama.cpp.
    #[value(name = "gguf-tq1_0")]
    GgufTq1_0,
    /// GGUF with TQ2_0 layers, 2.06 bits a weight: llama.cpp.
    #[value(name = "gguf-tq2_0")]
    GgufTq2_0,
    /// GGUF with I2_S layers: bitnet.cpp.
    #[value(name = "gguf-i2_s")]
    GgufI2S,
    /// tritburn's own folder: the canonical layout, loaded as it is.
    Tritburn,
    /// Checkpoint of the BitNet GPU kernels.
    BitnetGpu,
    /// Hugging Face folder with bf16 master weights, to train on.
    Bf16,
    /// Hugging Face folder with f32 master weights, to train on.
    F32,
}

/// Types of embeddings that `convert` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EmbeddingType {
    /// One that holds every value: the model's own; in GGUF f16 if that does.
    Exact,
    F16,
    Bf16,
    F32,
}
