//! `demo`

use std::fs;

use tritburn::device;

use crate::cli::DemoArgs;
use crate::data::AugmentConfig;
use crate::error::Error;
use crate::report::{Report, Training};
use crate::train::{ModelConfig, RunError, RunFolder, TrainConfig, train};

/// What trains in minutes on two CPU cores.
fn config() -> TrainConfig {
    let model = ModelConfig::new()
        .with_patch(7)
        .with_width(64)
        .with_layers(3)
        .with_heads(4)
        .with_inner(256);
    let augment = AugmentConfig {
        crop: 0.9,
        ..AugmentConfig::default()
    };
    TrainConfig::new(model, augment)
        .with_subset(Some(12_000))
        .with_steps(3000)
        .with_batch_size(64)
        .with_checkpoint_steps(500)
        .with_warmup_steps(100)
        .with_learning_rate(2e-3)
        .with_drop_path(0.0)
        .with_label_smoothing(0.05)
}

pub(super) fn run(args: &DemoArgs) -> Result<(), Error> {
    let device = device::open(&args.device.device)?;
    let config = args.config.over(config());
    config.validate()?;
    let data = config.dataset()?;
    super::tell(&data);
    let folder = args.output.join("run");
    // Only what a demo has left there is removed.
    if RunFolder::at(&folder).config_path().exists() {
        fs::remove_dir_all(&folder).map_err(RunError::write(&folder))?;
    }
    let trained = train(&folder, &config, &data, &device, false)?;
    println!("packing, saving, loading and measuring");
    let training = Training {
        steps: config.steps,
        seconds: trained.time.as_secs_f64(),
    };
    let report = Report::make(&folder, &data, Some(training), &device)?;
    println!(
        "\n{report}\n\nwritten to {}",
        folder.join("report.json").display()
    );
    let failures = report.failures();
    match failures.is_empty() {
        true => Ok(()),
        false => Err(Error::Demo { failures }),
    }
}
