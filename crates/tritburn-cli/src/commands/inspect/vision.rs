//! What the folder of a vision transformer holds.

use std::path::Path;

use anyhow::Result;
use burn::tensor::DType;
use tritburn::stats::layer_codes;
use tritburn_models::VisionTransformer;
use tritburn_models::vision::VisionConfig;

use super::Report;
use crate::error::message;

/// Adds to a report what the model says of itself; what is wrong becomes a problem.
pub(super) fn describe(folder: &Path, report: &mut Report) {
    report.format = "vision folder".to_string();
    report.model = Some("tritburn-vit".to_string());
    if let Err(error) = read(folder, report) {
        report.problems.push(message(&error));
    }
}

fn read(folder: &Path, report: &mut Report) -> Result<()> {
    let config = VisionConfig::load(folder)?;
    let device = tritburn::device::open(tritburn::device::default_name())?;
    let model = VisionTransformer::load(folder, DType::F32, &device)?;
    let layers = layer_codes(&model)?;
    report.parameters = Some(model.parameter_count());
    report.master_weights = !model.is_packed() && !layers.is_empty();
    let mut counts = [0u64; 3];
    for layer in &layers {
        let found = layer.histogram();
        if found[0] + found[2] == 0 {
            let path = &layer.path;
            report.problems.push(format!("{path}: all weights are 0"));
        }
        counts.iter_mut().zip(found).for_each(|(sum, n)| *sum += n);
    }
    let total: u64 = counts.iter().sum();
    report.codes = (total > 0).then(|| counts.map(|count| count as f64 / total as f64));
    report.classes = Some(config.labels);
    if model.is_packed() {
        report.bits_per_weight = (total > 0).then(|| {
            let words: usize = layers.iter().map(|layer| layer.words.len()).sum();
            32.0 * words as f64 / total as f64
        });
    }
    Ok(())
}
