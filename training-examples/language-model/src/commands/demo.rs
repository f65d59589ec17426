//! `demo`

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use burn::module::Module;
use burn::tensor::Device;
use tritburn::Pack;
use tritburn::stats::layer_codes;
use tritburn_models::model::{LoadOptions, ModelError};
use tritburn_models::sample::Sampling;
use tritburn_models::text::TokenizerFiles;
use tritburn_models::trainable::TrainableOptions;
use tritburn_models::{CausalLm, TrainableModel, checkpoint};

use crate::cli::DemoArgs;
use crate::error::Error;
use crate::evaluate::{Evaluation, likeliest};
use crate::generate::generate;
use crate::model::ModelConfig;
use crate::report::Report;
use crate::train::{Place, RunError, RunFolder, TrainConfig, train, write_atomic};
use tritburn::device;

/// What the models go on from: code, because the default text is code.
const PROMPT: [u8; 26] = *b"/// Returns the number of ";

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
    // Of bytes: its report compares texts byte by byte.
    let config = TrainConfig {
        tokenizer: None,
        ..config
    };
    let corpus = config.corpus()?;
    if corpus.vocabulary.size != config.model.vocabulary {
        return Err(Error::DemoTokens {
            found: corpus.vocabulary.size,
        });
    }
    println!(
        "{}: {:.1} MB to train on, {:.1} MB held out",
        corpus.source,
        corpus.train.bytes as f64 / 1e6,
        corpus.valid.bytes as f64 / 1e6
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
    let trained = train(&folder, &config, &Place::One(device.clone()), false)?;
    let model = trained.model;
    println!("packing, saving, loading and comparing");
    let valid_loss = evaluation.loss(&model)?;

    let folder = super::pack::pack(&run)?;
    let packed = super::serve(&folder, &LoadOptions::for_device(&device), &device)?;

    // Both from their folders, and in f32, where they promise the same numbers.
    let exact = TrainableModel::from_checkpoint(
        checkpoint::open(run.model())?.as_ref(),
        &TrainableOptions::default(),
        &device,
    )?;
    let packed_exact = super::serve(&folder, &LoadOptions::default(), &device)?;
    let prompt = PROMPT.map(u32::from);
    let greedy = generate(&packed_exact, &prompt, GREEDY_BYTES, Sampling::greedy())?;
    let codes = layer_codes(&model)?;
    let sampling = Sampling {
        temperature: 0.7,
        top_k: Some(40),
        seed: config.seed,
        ..Sampling::default()
    };
    let written = generate(&packed, &prompt, SAMPLE_BYTES, sampling)?;
    let sample: Vec<u8> = prompt.iter().chain(&written).map(|id| *id as u8).collect();
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
        float_bytes: weights_size(&run.model())?,
        packed_bytes: weights_size(&run.packed())?,
        max_abs_logit_diff_packed_vs_trained: evaluation.max_logit_difference(
            &exact,
            &exact.clone().pack()?,
            LOGIT_BATCHES,
        )?,
        greedy_tokens_equal: likeliest(&exact, &prompt, &greedy)?,
        float_tokens_per_s: speed(&float_twin(&config.model, &device)?, &device)?,
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

/// Size of the weights in the folder of a model.
fn weights_size(folder: &Path) -> Result<u64, Error> {
    let path = folder.join("model.safetensors");
    Ok(fs::metadata(&path).map_err(RunError::read(&path))?.len())
}

/// A float model of the same sizes, ready to run: what it says does not matter.
fn float_twin(config: &ModelConfig, device: &Device) -> Result<Arc<CausalLm>, Error> {
    let twin = config.clone().with_dense(true).init(device)?;
    let no_text = TokenizerFiles::default();
    let options = LoadOptions::for_device(device);
    let twin = CausalLm::load(&twin.as_checkpoint(&no_text)?, &options, device)?;
    Ok(Arc::new(twin))
}

/// Bytes that `model` writes in a second, the best of three.
fn speed(model: &Arc<CausalLm>, device: &Device) -> Result<f64, ModelError> {
    let prompt = PROMPT.map(u32::from);
    let mut best = 0f64;
    for _ in 0..3 {
        let begun = Instant::now();
        generate(model, &prompt, GREEDY_BYTES, Sampling::greedy())?;
        device.sync().ok();
        best = best.max(GREEDY_BYTES as f64 / begun.elapsed().as_secs_f64());
    }
    Ok(best)
}
