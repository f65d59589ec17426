//! `tritburn inspect`

use std::path::PathBuf;

use clap::Args;

use super::OverrideArgs;

/// Show what a model file holds: format, tensors, codes, scales, size, problems.
///
/// Everything is read, a piece at a time. Master weights (bf16) are quantised as loading them would,
/// and codes and scales are those that come out. A problem is what will not load or cannot be right:
/// weights that are all zero, scales that are not positive, NaN or infinity in any float tensor. With
/// any the exit code is 1.
#[derive(Args, Debug)]
pub struct InspectArgs {
    /// Folder or file: a model, or any safetensors, GGUF or .pt file.
    pub path: PathBuf,

    #[command(flatten)]
    pub overrides: OverrideArgs,

    /// List every tensor.
    #[arg(long)]
    pub tensors: bool,

    /// Report as one JSON object, tensors included.
    #[arg(long)]
    pub json: bool,
}
