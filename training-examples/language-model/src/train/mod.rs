//! Training with Burn's `SupervisedTraining`.

mod config;
mod cost;
mod metrics;
mod muon;
mod parallel;
mod place;
mod run_folder;
mod schedule;
mod trainee;
mod warm_up;

use std::io::{IsTerminal, stdout};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::train::{Interrupter, Learner, SupervisedTraining};

use training_run::{Clock, Gauge, draw_losses, ended};
use tritburn::optim::GlobalNormClip;
use tritburn_models::TrainableModel;
use tritburn_models::trainable::SaveOptions;

use self::cost::Cost;
use self::trainee::StepReport;
use crate::error::Error;
use crate::model::ModelConfig;

pub use config::{OptimizerKind, TrainConfig};
pub use muon::DecayingMuon;
pub use place::Place;
pub use run_folder::{DataRecord, RunFolder};
pub use schedule::Schedule;
pub use trainee::Trainee;
pub use training_run::{
    Best, BestStep, CheckpointError, Checkpoints, DecayingAdamW, PlainProgress, RunError,
    ScheduledRate, StepLog, StepRecord, Trained, write_atomic,
};

/// Number of held-out windows that an epoch ends with: a glance, not the final evaluation.
const VALID_WINDOWS: usize = 32;

/// Trains `config`'s model in `folder` and leaves it there as `model/`, a folder that
/// `tritburn generate` runs.
///
/// Several devices divide every step between them and do what one would have done, but for rounding.
///
/// With `resume`, continues from the newest whole checkpoint in `folder`: the steps that follow are
/// those of an unbroken run, on the Flex device bit for bit.
///
/// # Errors
/// [`Error`]: data, folder, checkpoints, or a training that was interrupted or came to NaN.
pub fn train(
    folder: &Path,
    config: &TrainConfig,
    place: &Place,
    resume: bool,
) -> Result<Trained<TrainableModel>, Error> {
    config.validate()?;
    let devices = place.devices();
    let parts = config.parts(devices.len())?;
    let data = config.training_data()?;
    let config = &match &config.base {
        Some(_) => config.clone(),
        None => TrainConfig {
            model: ModelConfig {
                vocabulary: data.vocabulary().size,
                ..config.model.clone()
            },
            ..config.clone()
        },
    };
    let run = match resume {
        true => RunFolder::resume(folder, config, &data)?,
        false => RunFolder::create(folder, config, &data)?,
    };
    // From its file even now, so that a resumed training has the same numbers to the last bit.
    let config = run.config()?;
    let checkpoints = Checkpoints::open(&run.checkpoints())?;
    let newest = if resume { checkpoints.newest()? } else { None };
    let plan = config.plan();
    let resumed_at = plan.steps.after(newest.unwrap_or(0));

    // Parameters on an autodiff device train; the seed fixes their first values.
    let device = devices[0].clone().autodiff();
    device.seed(config.seed);
    let model = match &config.base {
        Some(base) => base.load(&config.model, &device)?,
        None => config.model.init(&device)?,
    };
    let schedule = config.schedule();
    let clip = GlobalNormClip::new(config.gradient_norm);
    let adamw = DecayingAdamW::new(schedule.clone(), clip.clone());
    let optimizer = match config.optimizer.unwrap_or_default() {
        OptimizerKind::Adamw => ModuleOptimizer::from(adamw),
        OptimizerKind::Muon => DecayingMuon::new(schedule.clone()).beside(adamw, &model),
    };

    let first_epoch = newest.map_or(1, |epoch| epoch + 1);
    let train = data.train(plan, first_epoch, device.clone());
    let train = train.divided(devices.len());
    let trainee = Trainee::new(model, clip)
        .with_parts(parts)
        .with_quantization_steps(config.quantization_steps.unwrap_or(0));
    let teacher = config.teacher.as_ref();
    let teacher = teacher.map(|teacher| teacher.load(&config.model, &devices[0]));
    let trainee = trainee.with_teacher(teacher.transpose()?, devices)?;
    // Devices without kernels have nothing to compile, and a practice step would only take time.
    if tritburn::device::compiles_kernels(&device) {
        warm_up::warm_up(&trainee, &optimizer, devices, |index, device| {
            train.batch(1, index, device)
        })?;
    }
    let tokens = plan.batch_size * plan.context;
    let cost = Cost::new(trainee.model.config(), plan.context, devices);
    let valid = data.held_out(VALID_WINDOWS, plan, devices[0].clone());
    let trainee = trainee
        .with_exchange(place.exchange())
        .with_unread(checkpoints.unread());
    let interrupter = Interrupter::new();
    let log = StepLog::<StepReport>::open(&run.losses(), resumed_at, interrupter.clone())?;
    let [model_part, optimizer_part, schedule_part] = checkpoints.parts();

    let mut training = SupervisedTraining::new(folder, Arc::new(train), valid)
        .num_epochs(plan.steps.epochs())
        .with_interrupter(interrupter)
        .with_training_strategy(place.strategy())
        .with_application_logger(None)
        .with_custom_checkpointers(model_part, optimizer_part, schedule_part)
        .with_checkpointing_strategy(checkpoints.strategy(newest))
        .metric_train(log.clone())
        .metrics((metrics::loss(), metrics::perplexity()))
        .metric_train_numeric(metrics::gradient_norm())
        .metric_train_numeric(burn::train::metric::LearningRateMetric::new())
        .metric_train_numeric(Gauge::<StepReport>::speed("Tokens per second", tokens))
        .metric_train_numeric(Gauge::<StepReport>::memory(&devices[0]));
    if cost.peak.is_some() {
        training = training.metric_train_numeric(utilisation(tokens, cost));
    }
    if !config.model.dense {
        training = training
            .metric_train_numeric(metrics::zero_share())
            .metric_train_numeric(metrics::flip_share());
    }
    if let Some(epoch) = newest {
        training = training.checkpoint(epoch);
    }
    if !stdout().is_terminal() {
        training = training.renderer(Box::new(PlainProgress::new(
            plan.steps,
            resumed_at,
            "held-out text",
        )));
    }

    let begun = Instant::now();
    let result = training.launch(Learner::new(
        trainee,
        optimizer,
        ScheduledRate::new(schedule),
    ));
    let time = begun.elapsed();
    let trained = ended(result, log, folder)?.valid();
    draw_losses(&run.losses(), &run.loss_chart(), "nats a token")?;
    let options = SaveOptions {
        tokenizer: data.vocabulary().files.clone(),
        replace: true,
        ..SaveOptions::default()
    };
    trained.model.save(run.model(), &options)?;
    let best = checkpoints.best(plan.steps.epochs(), trained.clone())?;
    let best = match best {
        None => None,
        Some((best, earlier)) => {
            earlier.model.save(run.best(), &options)?;
            Some(BestStep::new(best, plan.steps))
        }
    };
    Ok(Trained {
        model: trained.model,
        resumed_at,
        time,
        best,
    })
}

/// Model FLOP utilisation.
fn utilisation(tokens_per_step: usize, cost: Cost) -> Gauge<StepReport> {
    let mut clock = Clock::new(tokens_per_step);
    Gauge::new("MFU", Some("%"), 1, move || cost.utilisation(clock.tick()?))
}
