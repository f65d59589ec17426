//! `tritburn perplexity`

use std::path::PathBuf;

use clap::Args;

use super::model::ModelArgs;

/// Measure how well a model foretells a text.
///
/// The text is cut into windows that overlap: of the first all tokens are scored, of each later one
/// those that are new, so that every token counts once, behind at least (context - stride) others.
/// Every window begins with the token that begins a sequence, if the tokenizer puts one there. What the
/// text spells is text, special tokens included.
///
/// The result is the mean cost of a token in nats, its exponential (the perplexity), and the cost of a
/// byte, which alone compares models with different tokenizers. Perplexities compare only at equal
/// --context and --stride; those of llama-perplexity only with --llama-cpp.
#[derive(Args, Debug)]
pub struct PerplexityArgs {
    #[command(flatten)]
    pub model: ModelArgs,

    /// Text to score, UTF-8; `-` reads it from the standard input.
    #[arg(value_name = "FILE")]
    pub text: PathBuf,

    /// Tokens of a window. Default: 2048, or the positions of the model if it has fewer; 512 with
    /// --llama-cpp.
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,

    /// Tokens from the start of one window to that of the next: the fewer, the more each token sees, and
    /// the longer it takes. Default: half the context.
    #[arg(long, value_name = "N", conflicts_with = "llama_cpp")]
    pub stride: Option<usize>,

    /// Score as llama-perplexity does: windows side by side, the second half of each, and what does not
    /// fill a window left out.
    #[arg(long)]
    pub llama_cpp: bool,

    /// One JSON object on the standard output.
    #[arg(long)]
    pub json: bool,
}
