//! A step for practice before the first one, with a word on what takes so long.
//!
//! A GPU's kernels are compiled, and some of Burn's tuned, when they are first launched. All of that
//! happens here, ahead of the training: its first step is as fast as its last, and nobody looks at
//! a silent terminal.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::tensor::TensorReadError;
use burn::train::{InferenceStep, TrainStep};

use super::Trainee;
use crate::data::ByteBatch;

/// Time between two lines.
const INTERVAL: Duration = Duration::from_secs(2);

/// Runs a training step and a validation step on `batch` and drops what came of them.
///
/// Prints a line every two seconds while it lasts.
///
/// # Errors
/// [`TensorReadError`] if the device fails.
pub fn warm_up(
    trainee: &Trainee,
    optimizer: &ModuleOptimizer,
    batch: ByteBatch,
) -> Result<(), TensorReadError> {
    let device = batch.inputs.device();
    let _talk = Heartbeat::start();
    let output = TrainStep::step(trainee, batch.clone());
    let mut optimizer = optimizer.clone();
    // Nothing moves at a rate of 0, and nothing of this is kept.
    let rate = ModuleLearningRate::from(0.0);
    let trained = trainee.clone().optimize(&mut optimizer, rate, output.grads);
    let inner = ByteBatch {
        inputs: batch.inputs.inner(),
        targets: batch.targets.inner(),
        ..batch
    };
    InferenceStep::step(&trained.valid(), inner);
    Ok(device.sync()?)
}

/// Says on the terminal what is being waited for, until it is dropped.
struct Heartbeat {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeat {
    fn start() -> Self {
        CompilerLog::install();
        let (stop, stopped) = channel();
        let begun = Instant::now();
        let thread = std::thread::spawn(move || {
            let mut said = false;
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                said = true;
                println!(
                    "getting ready for the first step: {} kernels compiled, {} operations tuned, {} s",
                    COMPILED.load(Ordering::Relaxed),
                    TUNED.load(Ordering::Relaxed),
                    begun.elapsed().as_secs()
                );
            }
            if said {
                println!("ready after {:.1} s", begun.elapsed().as_secs_f64());
            }
        });
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A thread that prints has no result.
            let _ = thread.join();
        }
        log::set_max_level(log::LevelFilter::Off);
    }
}

static COMPILED: AtomicUsize = AtomicUsize::new(0);
static TUNED: AtomicUsize = AtomicUsize::new(0);

/// Counts what CubeCL logs of its compiler and of its tuner.
struct CompilerLog;

impl CompilerLog {
    fn install() {
        // Another logger stays in place; then nothing is counted.
        if log::set_logger(&Self).is_ok() {
            log::set_max_level(log::LevelFilter::Trace);
        }
    }
}

impl log::Log for CompilerLog {
    fn enabled(&self, metadata: &log::Metadata) -> bool {
        metadata.target().starts_with("cubecl")
    }

    fn log(&self, record: &log::Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let counter = match record.args().as_str() {
            Some(text) if text.starts_with("Compiling kernel") => &COMPILED,
            None if record.target() == "cubecl_runtime::tune::tuner" => &TUNED,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use log::Log;

    use super::*;

    #[test]
    fn what_the_compiler_says_is_counted_and_nothing_else() {
        let say = |target: &str, text: std::fmt::Arguments| {
            let record = log::Record::builder().target(target).args(text).build();
            CompilerLog.log(&record);
        };
        let before = COMPILED.load(Ordering::Relaxed);
        say(
            "cubecl_cuda::compute::context",
            format_args!("Compiling kernel"),
        );
        say(
            "cubecl_cuda::compute::context",
            format_args!("Using PTX cache"),
        );
        say("somebody", format_args!("Compiling kernel"));
        assert_eq!(COMPILED.load(Ordering::Relaxed), before + 1);
    }
}
