//! `tritburn generate`

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::model::ModelArgs;

/// Continue a prompt, or chat.
///
/// Text streams to the standard output; speed and memory go to the standard error at the end.
///
/// Examples:
///   tritburn generate -m bitnet-b1.58-2B-4T --prompt "The capital of France is"
///   tritburn generate -m model.gguf --chat --temperature 0.7 --top-p 0.9
///   tritburn generate --synthetic 2b-4t --ids 1,2,3 --max-new-tokens 64
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
#[command(group(ArgGroup::new("input").required(true).args(["prompt", "chat", "ids"])))]
pub struct GenerateArgs {
    #[command(flatten)]
    pub model: ModelArgs,

    /// Text to continue; `-` reads it from the standard input.
    #[arg(long, short, allow_hyphen_values = true)]
    pub prompt: Option<String>,

    /// Chat by the model's template: type, get an answer, and so on; /clear forgets, /quit ends.
    #[arg(long, conflicts_with = "json")]
    pub chat: bool,

    /// Token ids to continue.
    #[arg(long, value_delimiter = ',', value_name = "ID,ID,…")]
    pub ids: Option<Vec<u32>>,

    /// Read special tokens that the prompt or a chat's messages spell (<|eot_id|>) as such: they are
    /// text otherwise.
    #[arg(long, conflicts_with = "ids")]
    pub parse_special: bool,

    /// What the chat begins with, from the system to the model.
    #[arg(long, conflicts_with_all = ["prompt", "ids"], allow_hyphen_values = true)]
    pub system: Option<String>,

    /// File with the chat's template (Jinja) instead of the model's.
    #[arg(long, conflicts_with_all = ["prompt", "ids"], value_name = "FILE")]
    pub chat_template: Option<PathBuf>,

    /// Positions to set aside for a chat; once they are full, its oldest turns are forgotten. Default:
    /// 4096, or those of the model if it has fewer.
    #[arg(long, conflicts_with_all = ["prompt", "ids"], value_name = "N")]
    pub context: Option<usize>,

    /// Tokens to add at most (in a chat: per answer); fewer where the model's positions end.
    #[arg(long, short = 'n', default_value_t = 128)]
    pub max_new_tokens: usize,

    /// Go on past the tokens that end a text.
    #[arg(long)]
    pub ignore_eos: bool,

    #[command(flatten)]
    pub sampling: SamplingArgs,

    /// One JSON object on the standard output instead of text: ids (prompt first), text,
    /// prompt_tokens_per_s, decode_tokens_per_s, peak_bytes.
    #[arg(long)]
    pub json: bool,
}

/// How the next token is chosen.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// Always take the most likely token (the default).
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p", "min_p"])]
    pub greedy: bool,

    /// Divide logits by this before drawing; 1 if another filter is given.
    #[arg(long, value_name = "T")]
    pub temperature: Option<f32>,

    /// Draw among the K most likely tokens.
    #[arg(long, value_name = "K")]
    pub top_k: Option<usize>,

    /// Draw among the fewest most likely tokens whose probabilities add up to P.
    #[arg(long, value_name = "P")]
    pub top_p: Option<f32>,

    /// Draw among tokens at least P times as likely as the most likely one.
    #[arg(long, value_name = "P")]
    pub min_p: Option<f32>,

    /// Make tokens that occurred less likely: over 1.
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub repetition_penalty: f32,

    /// Start of the random numbers.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}
