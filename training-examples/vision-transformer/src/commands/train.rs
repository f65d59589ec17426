//! `train`

use tritburn::device;

use crate::cli::TrainArgs;
use crate::data::AugmentConfig;
use crate::error::Error;
use crate::train::{ModelConfig, RunFolder, TrainConfig, train};

pub(super) fn run(args: &TrainArgs) -> Result<(), Error> {
    let device = device::open(&args.device.device)?;
    let run = RunFolder::at(&args.output);
    let base = match args.resume && run.config_path().exists() {
        true => run.config()?,
        false => TrainConfig::new(ModelConfig::new(), AugmentConfig::default()),
    };
    let config = args.config.over(base);
    config.validate()?;
    let data = config.dataset()?;
    super::tell(&data);
    let trained = train(&args.output, &config, &data, &device, args.resume)?;
    println!("{}", trained.summary(config.steps, &run.model()));
    if let Some(best) = trained.best {
        println!(
            "held-out images were cheapest after step {} ({:.4} nats): that model is {}",
            best.step,
            best.loss,
            run.best().display()
        );
    }
    Ok(())
}
