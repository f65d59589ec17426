//! What the command line asks for.

mod demo;
mod eval;
mod generate;
mod pack;
mod train;

use std::path::Path;

use burn::tensor::Device;

use crate::cli::{Cli, Command};
use crate::error::Error;
use crate::model::LanguageModel;
use crate::train::{RunFolder, TrainConfig};

/// Runs the command.
///
/// # Errors
/// [`Error`], to be shown to the user as it is.
pub fn run(cli: Cli) -> Result<(), Error> {
    match cli.command {
        Command::Train(args) => train::run(&args),
        Command::Pack(args) => pack::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Demo(args) => demo::run(&args),
    }
}

/// The model file `path` of a training, and its configuration.
fn load(
    run: &RunFolder,
    path: &Path,
    device: &Device,
) -> Result<(TrainConfig, LanguageModel), Error> {
    let config = run.config()?;
    let skeleton = config.model.init(device)?;
    let model = tritburn::store::load(&skeleton, path)?;
    Ok((config, model))
}
