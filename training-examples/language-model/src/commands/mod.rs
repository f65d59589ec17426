//! What the command line asks for.

mod demo;
mod eval;
mod finetune;
mod generate;
mod pack;
mod tokenize;
mod train;

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use tritburn_models::checkpoint;
use tritburn_models::model::LoadOptions;
use tritburn_models::{CausalLm, TrainableModel};

use crate::cli::{Cli, Command};
use crate::error::Error;
use crate::train::{RunFolder, Trained};

/// Runs the command.
///
/// # Errors
/// [`Error`], to be shown to the user as it is.
pub fn run(cli: Cli) -> Result<(), Error> {
    match cli.command {
        Command::Tokenize(args) => tokenize::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Finetune(args) => finetune::run(&args),
        Command::Pack(args) => pack::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Demo(args) => demo::run(&args),
    }
}

/// Says where the best model is, if that is not the last one.
fn tell_best(run: &RunFolder, trained: &Trained<TrainableModel>) {
    if let Some(best) = trained.best {
        println!(
            "held-out text was cheapest after step {} ({:.4} nats a token): that model is {}",
            best.step,
            best.loss,
            run.best().display()
        );
    }
}

/// The model in a folder, ready to run. `tritburn generate` loads it so, with
/// [`LoadOptions::for_device`].
fn serve(folder: &Path, options: &LoadOptions, device: &Device) -> Result<Arc<CausalLm>, Error> {
    let checkpoint = checkpoint::open(folder)?;
    let model = CausalLm::load(checkpoint.as_ref(), options, device)?;
    Ok(Arc::new(model))
}
