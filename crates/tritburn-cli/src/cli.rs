//! The command line.

mod bench;
mod classify;
mod convert;
mod embed;
mod generate;
mod inspect;
mod logits;
mod model;
mod perplexity;
#[cfg(feature = "serve")]
mod serve;

pub use bench::BenchArgs;
pub use classify::ClassifyArgs;
pub use convert::ConvertArgs;
pub use embed::EmbedArgs;
pub use generate::{GenerateArgs, SamplingArgs};
pub use inspect::InspectArgs;
pub use logits::LogitsArgs;
pub use model::{ModelArgs, OverrideArgs, Shape};
pub use perplexity::PerplexityArgs;
#[cfg(feature = "serve")]
pub use serve::{BatchingArgs, HttpArgs, LogFormat, ServeArgs};

use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};

/// Run, convert, inspect and measure 1.58-bit language models, and classify images.
///
/// A model is a folder as published on Hugging Face (config.json, safetensors, tokenizer.json), a
/// GGUF file, a checkpoint of the BitNet GPU kernels, or a folder that `tritburn convert` wrote. `inspect`,
/// `convert --to tritburn` and `classify` take the folders of vision transformers.
#[derive(Debug, Parser)]
#[command(name = NAME, version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// Say more about what happens: -v for steps, -vv for everything. TRITBURN_LOG takes the filter
    /// syntax of the `tracing` crates instead.
    #[arg(short, long, action = ArgAction::Count, global = true)]
    verbose: u8,
    #[command(subcommand)]
    pub command: Command,
}

/// What the command is called.
const NAME: &str = "tritburn";

impl Cli {
    /// What the command line says, or the end of the program with a message.
    pub fn from_command_line() -> Self {
        let matches = Self::definition().get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// The commands tell one version, under one name.
    fn definition() -> clap::Command {
        Self::command().mut_subcommands(|command| command.display_name(NAME))
    }

    /// The log filter that the flags ask for.
    pub fn verbosity(&self) -> &'static str {
        match (self.verbose, &self.command) {
            // Who runs a server reads its log.
            #[cfg(feature = "serve")]
            (0, Command::Serve(_)) => "warn,tritburn_server=info",
            (0, _) => "warn",
            (1, _) => "info",
            _ => "debug",
        }
    }

    /// Whether the log is JSON.
    pub fn logs_json(&self) -> bool {
        match &self.command {
            #[cfg(feature = "serve")]
            Command::Serve(args) => args.http.log_format == LogFormat::Json,
            _ => false,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Generate(GenerateArgs),
    Logits(LogitsArgs),
    Convert(ConvertArgs),
    Inspect(InspectArgs),
    Perplexity(PerplexityArgs),
    Embed(EmbedArgs),
    Classify(ClassifyArgs),
    Bench(BenchArgs),
    #[cfg(feature = "serve")]
    Serve(ServeArgs),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::definition().debug_assert();
    }
}
