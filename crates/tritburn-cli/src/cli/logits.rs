//! `tritburn logits`

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::model::ModelArgs;

/// Write the logits behind every token of a prompt to a safetensors file.
///
/// The file holds `ids` (I64, one a token) and `logits` (F32, tokens by vocabulary).
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
#[command(group(ArgGroup::new("input").required(true).args(["prompt", "ids"])))]
pub struct LogitsArgs {
    #[command(flatten)]
    pub model: ModelArgs,

    /// Text of the prompt.
    #[arg(long, short)]
    pub prompt: Option<String>,

    /// Token ids of the prompt.
    #[arg(long, value_delimiter = ',', value_name = "ID,ID,…")]
    pub ids: Option<Vec<u32>>,

    /// File to write.
    #[arg(long, short, value_name = "FILE.safetensors")]
    pub output: PathBuf,

    /// Say what was written as one JSON object.
    #[arg(long)]
    pub json: bool,
}
