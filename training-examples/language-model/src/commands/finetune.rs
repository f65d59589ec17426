//! `finetune`

use std::path::PathBuf;

use tritburn_models::trainable::TrainableError;

use crate::cli::FinetuneArgs;
use crate::error::Error;
use crate::model::{BaseModel, ModelConfig, TeacherModel};
use crate::train::{RunFolder, TrainConfig, train};

/// Tokens of a conversation unless told otherwise.
const CONTEXT: usize = 1024;

/// Most steps from a float model to a ternary one unless told otherwise.
const QUANTIZATION_STEPS: usize = 1000;

/// Bytes of memory for each parameter: weight, gradient, two moments, all f32.
const BYTES: u64 = 16;

pub(super) fn run(args: &FinetuneArgs) -> Result<(), Error> {
    let place = args.device.open()?;
    let run = RunFolder::at(&args.output);
    let config = match (args.resume, &args.model) {
        (false, Some(model)) => config(args, model.clone())?,
        _ => run.config()?,
    };
    let trained = train(&args.output, &config, &place, args.resume)?;
    println!(
        "trained to step {} in {:.1} s; the model is {}",
        config.steps,
        trained.time.as_secs_f64(),
        run.model().display()
    );
    super::tell_best(&run, &trained);
    Ok(())
}

fn config(args: &FinetuneArgs, model: PathBuf) -> Result<TrainConfig, Error> {
    let base = BaseModel {
        path: whole(model),
        ternarize: args.ternarize,
    };
    let checkpoint = base.open()?;
    let decoder = checkpoint.config();
    let available = decoder.max_position_embeddings;
    let found = args.context.unwrap_or(CONTEXT.min(available));
    if found > available {
        return Err(TrainableError::Length { found, available }.into());
    }
    let parameters = decoder.parameter_count();
    println!(
        "{}: {} of {parameters} parameters; weights, gradients and moments take {:.1} GB, activations more",
        base.path.display(),
        checkpoint.format(),
        (BYTES * parameters) as f64 / 1e9
    );
    let sizes = ModelConfig::of_base(decoder, args.ternarize, found);
    let teacher = args.teacher.clone().map(|path| TeacherModel {
        path: whole(path),
        weight: args.teacher_weight,
        temperature: args.temperature,
    });
    Ok(TrainConfig {
        base: Some(base),
        teacher,
        data: args.data.clone().map(whole),
        tokenizer: None,
        chat_template: args.chat_template.clone().map(whole),
        seed: args.seed,
        steps: args.steps,
        batch_size: args.batch_size,
        micro_batch_size: args.micro_batch_size,
        checkpoint_steps: args.checkpoint_steps,
        warmup_steps: args.warmup_steps,
        quantization_steps: args.ternarize.then(|| {
            let third = (args.steps / 3).min(QUANTIZATION_STEPS);
            args.quantization_steps.unwrap_or(third)
        }),
        optimizer: args.optimizer,
        learning_rate: args.learning_rate,
        second_learning_rate: args.learning_rate / 2.0,
        weight_decay: args.weight_decay,
        gradient_norm: args.gradient_norm,
        ..TrainConfig::new(ModelConfig {
            dtype: args.dtype,
            ..sizes
        })
    })
}

/// A path that holds wherever the training is resumed.
fn whole(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}
