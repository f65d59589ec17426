//! `tritburn inspect`

use std::path::PathBuf;

use clap::Args;

/// Show what a model file holds: format, tensors, codes, scales, size, problems.
#[derive(Args, Debug)]
pub struct InspectArgs {
    /// Folder or file: a model, or any safetensors, GGUF or .pt file.
    pub path: PathBuf,

    /// List every tensor.
    #[arg(long)]
    pub tensors: bool,

    /// Report as one JSON object, tensors included.
    #[arg(long)]
    pub json: bool,
}
