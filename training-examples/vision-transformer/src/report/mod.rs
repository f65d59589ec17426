//! What a model is worth: `report.json`, a table, and pictures.

mod confusion;
mod curves;
mod pictures;
mod table;

use std::path::Path;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use tritburn::Pack;
use tritburn::stats::layer_codes;
use tritburn_models::VisionTransformer;
use tritburn_models::vision::{TernaryLayers, VisionConfig};

use crate::data::Dataset;
use crate::error::Error;
use crate::evaluate::{Answers, Scores, Speed, check, speed};
use crate::train::{RunError, RunFolder, read_epochs, write_atomic};

/// Images at a time at which models are measured.
const BATCHES: [usize; 2] = [1, 256];

/// `report.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The data.
    pub data: String,
    /// The device.
    pub device: String,
    /// Sizes of the model.
    pub model: VisionConfig,
    /// Parameters of the model.
    pub parameters: usize,
    /// Those at 2 bits.
    pub ternary_parameters: usize,
    /// Bytes of the trained model's parameters.
    pub float_bytes: u64,
    /// Bytes of the packed model's.
    pub packed_bytes: u64,
    /// The packed model on the test images.
    pub scores: Scores,
    /// Whether the packed model takes every test image for what the trained one does.
    pub predictions_equal: bool,
    /// Largest difference of a logit between both.
    pub max_abs_logit_diff_packed_vs_trained: f64,
    /// The float twin: the same sizes, no ternary layers, random weights.
    pub float_speed: Vec<Speed>,
    /// The packed model.
    pub packed_speed: Vec<Speed>,
    /// Steps and seconds of the training, where it is known.
    pub training: Option<Training>,
}

/// How long a model was trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// Optimizer steps.
    pub steps: usize,
    /// Time in this process.
    pub seconds: f64,
}

/// A model's parameters and speeds, whatever it says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// Parameters of the model.
    pub parameters: usize,
    /// Those at 2 bits.
    pub ternary_parameters: usize,
    /// Bytes of the float model's parameters.
    pub float_bytes: u64,
    /// Bytes of the packed model's.
    pub packed_bytes: u64,
    /// The float twin.
    pub float_speed: Vec<Speed>,
    /// The packed model.
    pub packed_speed: Vec<Speed>,
}

impl Costs {
    /// Measures a model without gradients and its float twin, on `batches` of images.
    ///
    /// # Errors
    /// [`Error`] if the model cannot be packed, or the device fails.
    pub fn of(
        trained: &VisionTransformer,
        batches: &[usize],
        device: &Device,
    ) -> Result<Self, Error> {
        let packed = trained.pack()?;
        let twin = VisionConfig {
            ternary: TernaryLayers::None,
            ..trained.config().clone()
        };
        let twin = VisionTransformer::new(&twin, trained.dtype(), device)?;
        let speeds = |model: &VisionTransformer| {
            let speeds = batches.iter().map(|&batch| speed(model, batch, device));
            speeds.collect::<Result<Vec<_>, _>>()
        };
        let ternary = layer_codes(trained)?;
        Ok(Self {
            parameters: trained.parameter_count() as usize,
            ternary_parameters: ternary
                .iter()
                .map(|layer| layer.weight_count() as usize)
                .sum(),
            float_bytes: trained.byte_count()?,
            packed_bytes: packed.byte_count()?,
            float_speed: speeds(&twin)?,
            packed_speed: speeds(&packed)?,
        })
    }
}

impl Report {
    /// Measures the trained model of a run, packed and not, and writes `packed/`, `report.json`,
    /// `confusion.svg`, `curves.svg` and `predictions.svg` into its folder.
    ///
    /// # Errors
    /// [`Error`].
    pub fn make(
        folder: &Path,
        data: &Dataset,
        training: Option<Training>,
        device: &Device,
    ) -> Result<Self, Error> {
        let run = RunFolder::at(folder);
        let dtype = run.config()?.model.dtype(device);
        let trained = VisionTransformer::load(run.model(), dtype, device)?;
        check(&trained, data)?;
        trained.pack()?.save(run.packed(), true)?;
        let packed = VisionTransformer::load(run.packed(), dtype, device)?;
        let own = Answers::of(&trained, &data.test, device)?;
        let answers = Answers::of(&packed, &data.test, device)?;
        let scores = Scores::of(&answers, &data.test, &data.classes, data.labelling);
        let costs = Costs::of(&trained, &BATCHES, device)?;
        let report = Self {
            data: data.source.display().to_string(),
            device: format!("{device:?}"),
            model: trained.config().clone(),
            parameters: costs.parameters,
            ternary_parameters: costs.ternary_parameters,
            float_bytes: costs.float_bytes,
            packed_bytes: costs.packed_bytes,
            scores,
            predictions_equal: own.guesses() == answers.guesses(),
            max_abs_logit_diff_packed_vs_trained: own.difference(&answers),
            float_speed: costs.float_speed,
            packed_speed: costs.packed_speed,
            training,
        };
        let json = serde_json::to_string_pretty(&report).expect("numbers and text");
        write_atomic(&folder.join("report.json"), json.as_bytes())?;
        let draw = |name: &str, drawing: svg::Document| {
            write_atomic(&folder.join(name), drawing.to_string().as_bytes())
        };
        if let Some(confusion) = &report.scores.confusion {
            draw("confusion.svg", confusion::draw(confusion, &data.classes))?;
        }
        let epochs = read_epochs(&folder.join("epochs.jsonl"))?;
        let steps = read_steps(&run.losses())?;
        draw("curves.svg", curves::draw(&steps, &epochs))?;
        draw("predictions.svg", pictures::draw(data, &answers)?)?;
        Ok(report)
    }

    /// What the demo promises and did not keep, one sentence each.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        // Comparisons that a NaN fails.
        let learned = self.scores.accuracy >= 0.8;
        if !learned {
            failures.push(format!(
                "the accuracy {:.4} is below 0.8",
                self.scores.accuracy
            ));
        }
        let difference = self.max_abs_logit_diff_packed_vs_trained;
        let agree = difference <= 1e-3;
        if !agree || !self.predictions_equal {
            failures.push(format!(
                "packed and trained logits differ by {difference:e}"
            ));
        }
        failures
    }
}

/// Step and loss of every step.
fn read_steps(path: &Path) -> Result<Vec<(f64, f64)>, Error> {
    let text = std::fs::read_to_string(path).map_err(RunError::read(path))?;
    let records = text
        .lines()
        .map(serde_json::from_str::<training_run::StepRecord>);
    let records: Result<Vec<_>, _> = records.collect();
    let records = records.map_err(|error| RunError::read(path)(error.into()))?;
    let point = |record: training_run::StepRecord| (record.step as f64, record.loss);
    Ok(records.into_iter().map(point).collect())
}
