//! Data-parallel training: a replica of the model on each device.

use std::sync::Arc;
use std::thread;

use burn::data::dataloader::split::split_dataloader;
use burn::module::Module;
use burn::tensor::Device;
use burn::train::{
    EventProcessorTraining, InferenceStep, Interrupter, Learner, LearnerEvent,
    SupervisedLearningStrategy, SupervisedTrainingEventProcessor, TrainLoader, TrainingComponents,
    TrainingItem, ValidLoader,
};

use super::agreement::Agreement;
use crate::data::TokenBatch;
use crate::train::Trainee;

/// Trains replicas that add up their gradients ([`Exchange`](super::Exchange)) and so stay equal. The first
/// device validates, saves and reports.
///
/// Burn's own strategy for this (`ExecutionStrategy::ddp`, 0.22) lets each device stop on its own, with the
/// others waiting for ever, and shares the moments of a resumed optimizer between the devices' threads, of
/// which one writes them while the other still copies.
pub struct DataParallel {
    devices: Vec<Device>,
}

impl DataParallel {
    /// Trains on `devices`.
    pub fn new(devices: &[Device]) -> Self {
        let devices = devices.iter().map(|device| device.clone().autodiff());
        Self {
            devices: devices.collect(),
        }
    }

    /// A learner on each device, none of which shares a tensor with another.
    fn replicas(
        &self,
        learner: &Learner<Trainee>,
        components: &TrainingComponents<Trainee>,
    ) -> Vec<Learner<Trainee>> {
        let replica = |device: &Device| {
            let mut replica = learner.clone();
            if let (Some(epoch), Some(saved)) = (components.checkpoint, &components.checkpointer) {
                replica = saved.load_checkpoint(replica, epoch);
            }
            replica.fork(device);
            // A device that fails here fails again in its first step.
            let _ = device.sync();
            replica
        };
        self.devices.iter().map(replica).collect()
    }
}

impl SupervisedLearningStrategy<Trainee> for DataParallel {
    fn fit(
        &self,
        mut components: TrainingComponents<Trainee>,
        learner: Learner<Trainee>,
        train: TrainLoader<Trainee>,
        valid: ValidLoader<Trainee>,
        starting_epoch: usize,
    ) -> (Trainee, SupervisedTrainingEventProcessor<Trainee>) {
        let agreement = Arc::new(Agreement::new(self.devices.len()));
        let mut replicas = self.replicas(&learner, &components).into_iter();
        drop(learner);
        let mut parts = split_dataloader(train, &self.devices).into_iter();
        let first = replicas.next().zip(parts.next());
        let (mut learner, steps) = first.expect("there is a first device");
        let epochs = starting_epoch..=components.num_epochs;

        let others = replicas.zip(parts).map(|(mut learner, steps)| {
            let (agreement, epochs) = (agreement.clone(), epochs.clone());
            thread::spawn(move || {
                let _presence = agreement.presence();
                let mut settling = Settling::new(&learner, &agreement);
                for _ in epochs {
                    let decide = |_| agreement.decide(None);
                    let stops = each_step(&steps, &mut learner, &mut settling, decide);
                    if stops || agreement.decide(None) {
                        break;
                    }
                }
            })
        });
        let others: Vec<_> = others.collect();

        let _presence = agreement.presence();
        let valid = valid.to_device(&self.devices[0].clone().inner());
        let interrupter = components.interrupter.clone();
        let mut events = components.event_processor;
        let mut settling = Settling::new(&learner, &agreement);
        for epoch in epochs {
            interrupter.fail_on_error(events.process_train(LearnerEvent::StartSplit {
                epoch_number: epoch,
                total_items: steps.num_items(),
            }));
            let stops = each_step(&steps, &mut learner, &mut settling, |item| {
                if let Some(item) = item {
                    let event = LearnerEvent::ProcessedItem(item);
                    interrupter.fail_on_error(events.process_train(event));
                }
                agreement.decide(Some(interrupter.should_stop()))
            });
            interrupter.fail_on_error(events.process_train(LearnerEvent::EndSplit(epoch)));
            if stops {
                break;
            }
            interrupter.fail_on_error(events.process_valid(LearnerEvent::StartSplit {
                epoch_number: epoch,
                total_items: valid.num_items(),
            }));
            validate(&learner, &valid, &mut events, &interrupter);
            interrupter.fail_on_error(events.process_valid(LearnerEvent::EndSplit(epoch)));
            interrupter.fail_on_error(events.process_train(LearnerEvent::EndEpoch(epoch)));
            interrupter.fail_on_error(events.flush());
            if agreement.decide(Some(interrupter.should_stop())) {
                break;
            }
            if let Some(checkpointer) = &mut components.checkpointer {
                checkpointer.checkpoint(&learner, epoch, &components.event_store);
            }
        }
        for other in others {
            if let Err(panic) = other.join() {
                std::panic::resume_unwind(panic);
            }
        }
        (learner.model(), events)
    }
}

/// The first step of a process, in which the moments of a resumed optimizer come to its device.
///
/// Copies from device to device go through the communicator that adds up gradients, and all devices must
/// use it in one order: so none of them begins to copy, or to do its next step, before the others are as
/// far.
struct Settling<'a> {
    device: Device,
    agreement: &'a Agreement,
    done: bool,
}

impl<'a> Settling<'a> {
    fn new(learner: &Learner<Trainee>, agreement: &'a Agreement) -> Self {
        Self {
            device: learner.model().model.device(),
            agreement,
            done: false,
        }
    }

    fn around(&mut self, optimize: impl FnOnce()) {
        if std::mem::replace(&mut self.done, true) {
            return optimize();
        }
        self.meet();
        optimize();
        self.meet();
    }

    fn meet(&self) {
        // A device that fails here fails again when its results are read.
        let _ = self.device.sync();
        self.agreement.decide(None);
    }
}

type Report = TrainingItem<<Trainee as burn::train::TrainStep>::Output>;

/// Does the steps of an epoch. `stops` is asked before each of them and behind the last one, with what came
/// of the step before; true if it said so.
fn each_step(
    steps: &TrainLoader<Trainee>,
    learner: &mut Learner<Trainee>,
    settling: &mut Settling<'_>,
    mut stops: impl FnMut(Option<Report>) -> bool,
) -> bool {
    let mut batches = steps.iter();
    let mut done = 0;
    let mut report = None;
    loop {
        if stops(report.take()) {
            return true;
        }
        let Some(batch) = batches.next() else {
            return false;
        };
        let batch: TokenBatch = batch.expect(READ);
        let output = learner.train_step(batch);
        learner.lr_step();
        settling.around(|| learner.optimizer_step(output.grads));
        done += 1;
        let (progress, rate) = (batches.progress(), learner.lr_current());
        report = Some(TrainingItem::new(
            output.item,
            progress,
            Some(done),
            Some(rate),
        ));
    }
}

/// What cannot fail: tokens are in memory or mapped.
const READ: &str = "batches are cut out of tokens that were read before the training";

fn validate(
    learner: &Learner<Trainee>,
    batches: &ValidLoader<Trainee>,
    events: &mut SupervisedTrainingEventProcessor<Trainee>,
    interrupter: &Interrupter,
) {
    let model = learner.model().valid();
    let mut batches = batches.iter();
    let mut done = 0;
    while let Some(batch) = batches.next() {
        done += 1;
        let item = InferenceStep::step(&model, batch.expect(READ));
        let item = TrainingItem::new(item, batches.progress(), Some(done), None);
        interrupter.fail_on_error(events.process_valid(LearnerEvent::ProcessedItem(item)));
        if interrupter.should_stop() {
            return;
        }
    }
}
