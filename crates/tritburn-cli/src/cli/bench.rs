//! `tritburn bench`

use std::path::PathBuf;

use clap::Args;

use super::model::ModelArgs;

/// Measure prompt and decode speed.
///
/// Decode rows generate tokens one step at a time behind a context of the given length, for all
/// sequences of the batch together; prompt rows run prompts of that length through the model. Times
/// are medians.
///
/// reading: the share of a decode step's time that reading weights, keys and values once would take, at the
/// speed at which the device is seen to move memory ahead of the rows.
///
/// Three numbers tell the memory of each row. weights: projections, embedding and head of the model.
/// memory: all that is in use behind the row's last run, its key-value cache included. peak: the
/// most during the row, memory that is free to be used again included. On CUDA and ROCm devices
/// memory and peak are what the device's pools have in use and have reserved; the pools give back
/// what they can ahead of every row. Elsewhere they are the resident set of the whole process and
/// its peak since the row began, on Linux only; that counts what the allocator keeps of earlier rows,
/// so measure small contexts and batches first. A dense twin is loaded when the packed model is gone.
#[derive(Args, Debug)]
pub struct BenchArgs {
    #[command(flatten)]
    pub model: ModelArgs,

    /// Sequences at once.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    pub batch: Vec<usize>,

    /// Lengths of the context that decoding goes on from; none skips decoding. Default: 512, or what
    /// the model has room for.
    #[arg(long, value_delimiter = ',', num_args = 0..)]
    pub context: Option<Vec<usize>>,

    /// Lengths of prompts; none skips them. Default: 512, or what the model has room for.
    #[arg(long, value_delimiter = ',', num_args = 0..)]
    pub prompt: Option<Vec<usize>>,

    /// Decode steps to time.
    #[arg(long, default_value_t = 64)]
    pub steps: usize,

    /// Runs of each prompt to time.
    #[arg(long, default_value_t = 3)]
    pub repeats: usize,

    /// Measure the same model with dense weights in the type of the hidden states, too.
    #[arg(long)]
    pub dense_twin: bool,

    /// One JSON object on the standard output instead of the table.
    #[arg(long)]
    pub json: bool,

    /// Write the JSON object to a file, too.
    #[arg(long, value_name = "FILE.json")]
    pub output: Option<PathBuf>,

    /// Draw tokens per second as a bar chart.
    #[arg(long, value_name = "FILE.svg")]
    pub svg: Option<PathBuf>,
}
