//! `tritburn serve`

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::model::ModelArgs;

/// Serve a model to many users at once, behind OpenAI's API.
///
/// A chat page is at /, the API under /v1 with its documentation at /docs, numbers for Prometheus at
/// /metrics. The first SIGTERM or Ctrl-C lets running requests finish, the second ends at once.
///
/// Examples:
///   tritburn serve -m bitnet-b1.58-2B-4T
///   tritburn serve -m model.gguf --host 0.0.0.0 --api-key-file keys.txt
///   tritburn serve --synthetic 2b-4t --device cuda --devices 0,1
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct ServeArgs {
    #[command(flatten)]
    pub model: ModelArgs,

    /// What requests call the model. Default: the last part of its path, or its shape.
    #[arg(long)]
    pub name: Option<String>,

    /// File with the chat's template (Jinja) instead of the model's.
    #[arg(long, value_name = "FILE")]
    pub chat_template: Option<PathBuf>,

    /// Make embeddings instead of text, of a model that was trained for it.
    #[arg(long)]
    pub embeddings: bool,

    /// Devices by number, of the kind that --device names: each runs the whole model, and requests go to
    /// where there is the least to do.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "N,N,…",
        help_heading = "Device and precision"
    )]
    pub devices: Vec<usize>,

    #[command(flatten)]
    pub batching: BatchingArgs,

    #[command(flatten)]
    pub http: HttpArgs,
}

/// How many requests share a device.
#[derive(Args, Debug)]
#[command(next_help_heading = "Batching")]
pub struct BatchingArgs {
    /// Answers that are written at once; others wait.
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub max_sequences: usize,

    /// Requests that may wait. The next one is refused with status 429.
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub max_waiting: usize,

    /// Positions of a prompt with its answer. Default: those of the model.
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,

    /// Positions that the cache of keys and values has for all answers together. Default: what fits into
    /// 4 GiB, and a whole context at least.
    #[arg(long, value_name = "N")]
    pub cache_tokens: Option<usize>,

    /// Read each prompt anew, even where an earlier one began alike.
    #[arg(long)]
    pub no_prefix_sharing: bool,

    /// Let the first engine fail so many seconds behind the start: a drill of what clients and balancers do.
    #[arg(long, value_name = "SECONDS", hide = true)]
    pub fail_first_after: Option<f64>,
}

/// Who may connect, and for how long.
#[derive(Args, Debug)]
#[command(next_help_heading = "HTTP")]
pub struct HttpArgs {
    /// Address to listen on; 0.0.0.0 is reached from other machines.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub host: IpAddr,

    /// Port to listen on; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub port: u16,

    /// Key that requests have to bring; may be given several times. Others see it in the list of processes:
    /// --api-key-file and the variable TRITBURN_API_KEY are safer.
    #[arg(long, value_name = "KEY")]
    pub api_key: Vec<String>,

    /// File with such keys, one a line.
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,

    /// Origin whose pages may ask, as https://example.org, or `*` for all; may be given several times.
    /// Default: none but the server's own page.
    #[arg(long = "cors", value_name = "ORIGIN")]
    pub cors: Vec<String>,

    /// Bytes of a request at most.
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 20)]
    pub max_body: usize,

    /// Connections at once; the next one is closed.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub max_connections: usize,

    /// Seconds that a client may take to send a request, or stop reading its answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    pub client_timeout: f64,

    /// Seconds that an answer may take, waiting included. Default: no limit.
    #[arg(long, value_name = "SECONDS")]
    pub request_timeout: Option<f64>,

    /// Seconds that running requests get when the server is told to end.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    pub grace: f64,

    /// Certificate (PEM) for HTTPS.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// How the log is written.
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,

    /// Write prompts to the log, which else has no text of anyone's.
    #[arg(long)]
    pub log_prompts: bool,
}

/// How a log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines to read.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}
