//! `demo`

use std::fs;
use std::path::Path;
use std::time::Instant;

use burn::module::Module;
use burn::tensor::{Device, TensorReadError};
use tritburn::Pack;
use tritburn::stats::layer_codes;

use crate::cli::DemoArgs;
use crate::data::Corpus;
use crate::error::Error;
use crate::evaluate::Evaluation;
use crate::generate::{Sampling, generate};
use crate::model::{LanguageModel, ModelConfig};
use crate::report::Report;
use crate::train::{RunError, RunFolder, TrainConfig, train, write_atomic};
use tritburn::device;

/// What the models go on from: code, because the default text is code.
const PROMPT: &[u8] = b"/// Returns the number of ";

/// Bytes that the packed model and the trained one must agree on.
const GREEDY_BYTES: usize = 200;

/// Bytes of the sample.
const SAMPLE_BYTES: usize = 400;

/// Batches on which logits are compared.
const LOGIT_BATCHES: usize = 4;

pub(super) fn run(args: &DemoArgs) -> Result<(), Error> {
    let device = device::open(&args.device.device)?;
    let config = args.config.over(TrainConfig::new(ModelConfig::new()));
    config.validate()?;
    if config.model.dense {
        return Err(Error::Dense {
            folder: args.output.clone(),
        });
    }
    let corpus = Corpus::load(config.data.as_deref(), config.model.context + 1)?;
    println!(
        "{}: {:.1} MB to train on, {:.1} MB held out",
        corpus.source,
        corpus.train.len() as f64 / 1e6,
        corpus.valid.len() as f64 / 1e6
    );
    let evaluation = Evaluation::new(&corpus, config.model.context, &device);

    let folder = args.output.join("run");
    let run = RunFolder::at(&folder);
    // Only what a demo has left there is removed.
    if run.config_path().exists() {
        fs::remove_dir_all(&folder).map_err(RunError::write(&folder))?;
    }
    // The seed makes this the model that training begins with.
    device.seed(config.seed);
    let initial_loss = evaluation.loss(&config.model.init(&device)?)?;
    let trained = train(&folder, &config, &device, false)?;
    let model = trained.model;
    println!("packing, saving, loading and comparing");
    let valid_loss = evaluation.loss(&model)?;

    tritburn::store::save(&model.clone().pack()?, run.packed())?;
    let (_, packed) = super::load(&run, &run.packed(), &device)?;

    let greedy = |model: &LanguageModel| generate(model, PROMPT, GREEDY_BYTES, Sampling::Greedy);
    let twin = config.model.clone().with_dense(true).init(&device)?;
    let codes = layer_codes(&model)?;
    let sampling = Sampling::Random {
        temperature: 0.7,
        top_k: 40,
        seed: config.seed,
    };
    let sample = [PROMPT, &generate(&packed, PROMPT, SAMPLE_BYTES, sampling)?].concat();
    let report = Report {
        unigram_nats: evaluation.unigram_nats,
        initial_loss,
        valid_loss,
        steps: config.steps,
        train_seconds: trained.time.as_secs_f64(),
        parameters: model.num_params(),
        ternary_parameters: codes
            .iter()
            .map(|layer| layer.weight_count() as usize)
            .sum(),
        float_bytes: file_size(&run.model())?,
        packed_bytes: file_size(&run.packed())?,
        max_abs_logit_diff_packed_vs_trained: evaluation.max_logit_difference(
            &packed,
            &model,
            LOGIT_BATCHES,
        )?,
        greedy_tokens_equal: greedy(&packed)? == greedy(&model)?,
        float_tokens_per_s: speed(&twin, &device)?,
        packed_tokens_per_s: speed(&packed, &device)?,
        sample: String::from_utf8_lossy(&sample).into_owned(),
    };
    let path = args.output.join("report.json");
    let json = serde_json::to_string_pretty(&report).expect("numbers and text");
    write_atomic(&path, json.as_bytes())?;
    println!("\n{report}\n\nwritten to {}", path.display());
    let failures = report.failures();
    if failures.is_empty() {
        Ok(())
    } else {
        Err(Error::Demo { failures })
    }
}

fn file_size(path: &Path) -> Result<u64, Error> {
    Ok(fs::metadata(path).map_err(RunError::read(path))?.len())
}

/// Bytes that `model` writes in a second, the best of three.
fn speed(model: &LanguageModel, device: &Device) -> Result<f64, TensorReadError> {
    let mut best = 0f64;
    for _ in 0..3 {
        let begun = Instant::now();
        generate(model, PROMPT, GREEDY_BYTES, Sampling::Greedy)?;
        device.sync().ok();
        best = best.max(GREEDY_BYTES as f64 / begun.elapsed().as_secs_f64());
    }
    Ok(best)
}
