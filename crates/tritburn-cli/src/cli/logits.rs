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
    #[arg(long, short, allow_hyphen_values = true)]
    pub prompt: Option<String>,

    /// Read special tokens that the prompt spells (<|eot_id|>) as such: they are text otherwise.
    #[arg(long, conflicts_with = "ids")]
    pub parse_special: bool,

    /// Token ids of the prompt.
    #[arg(long, value_delimiter = ',', value_name = "ID,ID,…")]
    pub ids: Option<Vec<u32>>,

    /// File to write.
    #[arg(long, short, value_name = "FILE.safetensors")]
    pub output: PathBuf,

    /// Replace a file that is there.
    #[arg(long)]
    pub force: bool,

    /// Say what was written as one JSON object.
    #[arg(long)]
    pub json: bool,
}
