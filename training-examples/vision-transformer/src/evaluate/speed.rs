//! How long a model takes.

use std::time::{Duration, Instant};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use tritburn_models::VisionTransformer;
use tritburn_models::vision::{Classifier, Picture, VisionError};

use crate::error::Error;

/// Time that is spent on a measurement, and runs at least and at most.
const TIME: Duration = Duration::from_secs(2);
const RUNS: std::ops::RangeInclusive<usize> = 5..=2000;
/// From this time on one run is enough.
const SLOW: Duration = Duration::from_secs(20);
/// Runs before the first that counts: kernels are compiled and tuned in them.
const WARM_UP: usize = 3;

/// What a batch takes, images on the device.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Images at a time.
    pub batch: usize,
    /// Median time of a batch, microseconds.
    pub microseconds: f64,
    /// Images a second at that.
    pub images_per_second: f64,
}

/// The speed of a model on `batch` images at a time.
///
/// # Errors
/// [`VisionError`] if the device fails.
pub fn speed(model: &VisionTransformer, batch: usize, device: &Device) -> Result<Speed, Error> {
    let config = model.config();
    let [channels, size, _] = config.image_shape();
    let noise = |image: usize| {
        let values = 0..channels * size * size;
        Picture {
            size,
            channels,
            pixels: values
                .map(|at| (at * 31 + image * 77 + at / 7 * 13) as u8)
                .collect(),
        }
    };
    let pictures: Vec<Picture> = (0..batch).map(noise).collect();
    let mut classifier = Classifier::new(model.clone(), batch)?;
    classifier.show(&pictures)?;
    let mut run = || -> Result<f64, VisionError> {
        let begun = Instant::now();
        let logits = classifier.run()?;
        device.sync().map_err(|error| VisionError::Device {
            reason: format!("{error:?}"),
        })?;
        let time = begun.elapsed().as_secs_f64();
        drop(logits);
        Ok(time)
    };
    // The first run may compile: how slow the model is shows from the second one on.
    run()?;
    let warm_up = if run()? < SLOW.as_secs_f64() {
        WARM_UP - 2
    } else {
        0
    };
    for _ in 0..warm_up {
        run()?;
    }
    let begun = Instant::now();
    let mut times = Vec::new();
    let least = |elapsed| if elapsed < SLOW { *RUNS.start() } else { 1 };
    while times.len() < least(begun.elapsed())
        || (begun.elapsed() < TIME && times.len() < *RUNS.end())
    {
        times.push(run()?);
    }
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    Ok(Speed {
        batch,
        microseconds: median * 1e6,
        images_per_second: batch as f64 / median,
    })
}
