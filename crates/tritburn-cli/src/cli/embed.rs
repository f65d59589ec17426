//! `tritburn embed`

use std::path::PathBuf;

use clap::Args;

use super::model::ModelArgs;

/// Turn texts into vectors: the hidden state behind the last token of each, at a length of 1.
///
/// For models that were trained for it, such as BitNet-embedding. The cosine of two texts is the sum of
/// the products of their vectors. One JSON object a text goes to the standard output, in the order of the
/// texts: its index, its tokens, the vector.
#[derive(Args, Debug)]
pub struct EmbedArgs {
    #[command(flatten)]
    pub model: ModelArgs,

    /// File with a text a line, UTF-8; `-` is the standard input.
    #[arg(value_name = "FILE", required_unless_present = "text")]
    pub file: Option<PathBuf>,

    /// A text; may be given several times.
    #[arg(
        long,
        value_name = "TEXT",
        allow_hyphen_values = true,
        conflicts_with = "file"
    )]
    pub text: Vec<String>,

    /// Leave out the token that ends a sequence where the tokenizer does not put it behind a text
    /// itself.
    #[arg(long)]
    pub no_eos: bool,

    /// Texts that run at once.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub batch_size: usize,
}
