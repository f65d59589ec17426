//! `train`

use crate::cli::TrainArgs;
use crate::error::Error;
use crate::model::ModelConfig;
use burn::config::Config;

use crate::train::{RunError, RunFolder, TrainConfig, train};

pub(super) fn run(args: &TrainArgs) -> Result<(), Error> {
    let place = args.device.open()?;
    let run = RunFolder::at(&args.output);
    let base = match &args.config_file {
        Some(path) => TrainConfig::load(path).map_err(|error| RunError::Config {
            path: path.clone(),
            error,
        })?,
        None if args.resume && run.config_path().exists() => run.config()?,
        None => TrainConfig::new(ModelConfig::new()),
    };
    let config = args.config.over(base);
    let trained = train(&args.output, &config, &place, args.resume)?;
    println!("{}", trained.summary(config.steps, &run.model()));
    super::tell_best(&run, &trained);
    Ok(())
}
