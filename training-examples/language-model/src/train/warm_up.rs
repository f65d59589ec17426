//! A step for practice before the first one, with a word on what takes so long.
//!
//! A GPU's kernels are compiled, and some of Burn's tuned, when they are first launched. All of that
//! happens here, ahead of the training: its first step is as fast as its last, and nobody looks at
//! a silent terminal.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::tensor::{Device, TensorReadError};
use burn::train::{InferenceStep, TrainStep};

use super::Trainee;
use crate::data::TokenBatch;
use crate::logging::Counts;

/// Time between two lines.
const INTERVAL: Duration = Duration::from_secs(2);

/// Runs a training step and a validation step on each of `devices`, on the batch that `batch` gives for its
/// index, and drops what came of them.
///
/// Prints a line every two seconds while it lasts.
///
/// # Errors
/// [`TensorReadError`] if a device fails.
pub fn warm_up(
    trainee: &Trainee,
    optimizer: &ModuleOptimizer,
    devices: &[Device],
    batch: impl Fn(usize, &Device) -> TokenBatch,
) -> Result<(), TensorReadError> {
    let _talk = Heartbeat::start();
    for (index, device) in devices.iter().enumerate() {
        let device = device.clone().autodiff();
        let replica = match index {
            0 => trainee.clone(),
            _ => trainee.clone().fork(&device),
        };
        practise(replica, optimizer.clone(), batch(index, &device));
        device.sync()?;
    }
    Ok(())
}

fn practise(trainee: Trainee, mut optimizer: ModuleOptimizer, batch: TokenBatch) {
    let output = TrainStep::step(&trainee, batch.clone());
    // Nothing moves at a rate of 0, and nothing of this is kept.
    let rate = ModuleLearningRate::from(0.0);
    let trained = trainee.optimize(&mut optimizer, rate, output.grads);
    let inner = TokenBatch {
        inputs: batch.inputs.inner(),
        targets: batch.targets.inner(),
        ..batch
    };
    InferenceStep::step(&trained.valid(), inner);
}

/// Says on the terminal what is being waited for, until it is dropped.
struct Heartbeat {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeat {
    fn start() -> Self {
        let (stop, stopped) = channel();
        let begun = Instant::now();
        let thread = std::thread::spawn(move || {
            let counts = Counts::listen();
            let mut said = false;
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                said = true;
                println!(
                    "getting ready for the first step: {} s{}",
                    begun.elapsed().as_secs(),
                    counts.in_words()
                );
            }
            if said {
                let seconds = begun.elapsed().as_secs_f64();
                println!("ready after {seconds:.1} s{}", counts.in_words());
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
    }
}
