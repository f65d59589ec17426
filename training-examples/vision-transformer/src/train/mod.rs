//! Training with Burn's `SupervisedTraining`.

mod config;
mod epochs;
mod loss;
mod metrics;
mod schedule;
mod teacher;
mod trainee;

use std::io::{IsTerminal, stdout};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::tensor::Device;
use burn::train::{ExecutionStrategy, Interrupter, Learner, SupervisedTraining, TrainingStrategy};
use training_run::{DecayingAdamW, Gauge, ScheduledRate, StepLog, draw_losses, ended};
use tritburn::optim::GlobalNormClip;
use tritburn_models::VisionTransformer;

use crate::data::{Batcher, DataRecord, Dataset, TestLoader, TrainLoader};
use crate::error::Error;
use trainee::Options;

pub use config::{ActivationType, ModelConfig, TeacherConfig, TrainConfig};
pub use epochs::{EpochRecord, read as read_epochs};
pub use loss::{cross_entropy, divergence, probabilities};
pub use schedule::Schedule;
pub use teacher::{LOGITS, Teacher, TeacherLogits};
pub use trainee::{Matcher, StepReport, Trainee};
pub use training_run::{
    BestStep, CheckpointError, Checkpoints, PlainProgress, RunError, Trained, write_atomic,
};

/// The folder of a training on images.
pub type RunFolder = training_run::RunFolder<TrainConfig, DataRecord>;

/// Held-out images that an epoch ends with.
const VALID_IMAGES: usize = 2000;
/// β of the squares in AdamW.
const BETA_2: f32 = 0.999;

/// Trains `config`'s model on `data` in `folder`, and leaves it there as `model/`, a folder that
/// `tritburn classify` runs.
///
/// With `resume`, continues from the newest whole checkpoint in `folder`: the steps that follow are those of an
/// unbroken run, on the Flex device bit for bit.
///
/// # Errors
/// [`Error`]: folder, checkpoints, teacher, or a training that was interrupted or came to NaN.
pub fn train(
    folder: &Path,
    config: &TrainConfig,
    data: &Dataset,
    device: &Device,
    resume: bool,
) -> Result<Trained<VisionTransformer>, Error> {
    config.validate()?;
    let sizes = data.describe(config.model.sizes());
    sizes
        .validate()
        .map_err(tritburn_models::vision::VisionError::from)?;
    let dtype = config.model.dtype(device);
    let teacher = config.teacher.as_ref();
    let teacher = teacher
        .map(|teacher| Teacher::load(teacher, &sizes, data.train.len(), dtype, device))
        .transpose()?;
    let run = match resume {
        true => RunFolder::resume(folder, config, data)?,
        false => RunFolder::create(folder, config, data)?,
    };
    // From its file even now, so that a resumed training has the same numbers to the last bit.
    let config = &run.config()?;
    let checkpoints = Checkpoints::open(&run.checkpoints())?;
    let newest = if resume { checkpoints.newest()? } else { None };
    let plan = config.plan();
    let resumed_at = plan.steps.after(newest.unwrap_or(0));

    // Parameters on an autodiff device train; the seed fixes their first values.
    let trains_on = device.clone().autodiff();
    trains_on.seed(config.seed);
    let model = VisionTransformer::new(&sizes, dtype, &trains_on)?;
    let schedule = config.schedule();
    let clip = GlobalNormClip::new(config.gradient_norm);
    let adamw = DecayingAdamW::new(schedule.clone(), clip.clone()).with_beta_2(BETA_2);
    let optimizer = ModuleOptimizer::from(adamw);
    let batcher = Batcher {
        split: data.train.clone(),
        model: sizes,
        augment: Some(config.augment.clone()),
        smoothing: config.label_smoothing,
        teacher: None,
    };
    let held_out = Batcher {
        split: data.valid.clone(),
        augment: None,
        ..batcher.clone()
    };
    let (teacher, batcher) = match teacher {
        None => (None, batcher),
        Some(Teacher::Model(teacher)) => (Some(*teacher), batcher),
        Some(Teacher::Logits(logits)) => {
            let temperature = config
                .teacher
                .as_ref()
                .map_or(1.0, |teacher| teacher.temperature);
            let teacher = Some((Arc::new(logits), temperature));
            (None, Batcher { teacher, ..batcher })
        }
    };
    let options = Options {
        drop_path: config.drop_path,
        seed: config.seed,
        teacher: config.teacher.clone(),
    };
    let trainee = Trainee::new(model, teacher, options, clip);
    let trainee = trainee.with_unread(checkpoints.unread());
    let first_epoch = newest.map_or(1, |epoch| epoch + 1);
    let train = TrainLoader::new(Arc::new(batcher), plan, first_epoch, trains_on.clone());
    let valid = Arc::new(held_out);
    let valid = TestLoader::new(valid, VALID_IMAGES, plan.batch_size, device.clone());
    let interrupter = Interrupter::new();
    let log = StepLog::<StepReport>::open(&run.losses(), resumed_at, interrupter.clone())?;
    let [model_part, optimizer_part, schedule_part] = checkpoints.parts();
    let recording = epochs::Recording::new(
        checkpoints.strategy(newest),
        folder.join("epochs.jsonl"),
        resumed_at,
        plan.steps,
    )?;

    let strategy = ExecutionStrategy::single(trains_on);
    let mut training = SupervisedTraining::new(folder, Arc::new(train), Arc::new(valid))
        .num_epochs(plan.steps.epochs())
        .with_interrupter(interrupter)
        .with_training_strategy(TrainingStrategy::Default(strategy))
        .with_application_logger(None)
        .with_custom_checkpointers(model_part, optimizer_part, schedule_part)
        .with_checkpointing_strategy(recording)
        .metric_train(log.clone())
        .metrics((metrics::loss(),))
        .metric_valid_numeric(metrics::accuracy())
        .metric_train_numeric(metrics::gradient_norm())
        .metric_train_numeric(burn::train::metric::LearningRateMetric::new())
        .metric_train_numeric(Gauge::<StepReport>::speed(
            "Images per second",
            plan.batch_size,
        ))
        .metric_train_numeric(Gauge::<StepReport>::memory(device));
    if let Some(epoch) = newest {
        training = training.checkpoint(epoch);
    }
    if !stdout().is_terminal() {
        let progress = PlainProgress::new(plan.steps, resumed_at, "held-out images");
        training = training.renderer(Box::new(progress));
    }

    let begun = Instant::now();
    let result = training.launch(Learner::new(
        trainee,
        optimizer,
        ScheduledRate::new(schedule),
    ));
    let time = begun.elapsed();
    let trained = ended(result, log, folder)?.valid();
    draw_losses(&run.losses(), &run.loss_chart(), "loss")?;
    let best = checkpoints.best(plan.steps.epochs(), trained.clone())?;
    let best = match best {
        None => None,
        Some((best, earlier)) => {
            earlier.model.rounded()?.save(run.best(), true)?;
            Some(BestStep::new(best, plan.steps))
        }
    };
    let model = trained.model.rounded()?;
    model.save(run.model(), true)?;
    Ok(Trained {
        model,
        resumed_at,
        time,
        best,
    })
}
