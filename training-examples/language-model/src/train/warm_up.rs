//! A step for practice before the first one, with a word on what takes so long.
//!
//! A GPU's kernels are compiled, and some of Burn's tuned, when they are first launched. All of that
//! happens here, ahead of the training: its first step is as fast as its last, and nobody looks at
//! a silent terminal.

use burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::tensor::{Device, TensorReadError};
use burn::train::{InferenceStep, TrainStep};
use training_run::Heartbeat;

use super::Trainee;
use crate::data::TokenBatch;

/// Runs a training step and a validation step on each of `devices`, on the batch that `batch` gives for its
/// index, and drops what came of them.
///
/// Says every two seconds on the standard error how far it is.
///
/// # Errors
/// [`TensorReadError`] if a device fails.
pub fn warm_up(
    trainee: &Trainee,
    optimizer: &ModuleOptimizer,
    devices: &[Device],
    batch: impl Fn(usize, &Device) -> TokenBatch,
) -> Result<(), TensorReadError> {
    let _talk = Heartbeat::start("getting ready for the first step");
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
