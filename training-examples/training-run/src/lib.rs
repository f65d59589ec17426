//! What the training programs of this repository share, whatever they train.
//!
//! | item | what |
//! |---|---|
//! | [`RunFolder`] | the folder of a training: configuration, data, logs, checkpoints, model |
//! | [`Checkpoints`] | checkpoints that survive a kill at any moment; the newest and the best are kept |
//! | [`Unread`] | what a step waits for, so that it does not change a checkpoint that is still to be read |
//! | [`StepLog`] | the loss of every step, in a file that a resumed training continues |
//! | [`draw_losses`] | the same as a picture |
//! | [`StepMetric`], [`Gauge`] | what is watched of steps and of the machine |
//! | [`PlainProgress`], [`Heartbeat`] | progress where there is no terminal; what is waited for ahead of it |
//! | [`Steps`], [`shuffled`], [`Counted`] | how steps make epochs, which items a step has, batches as Burn counts them |
//! | [`ended`], [`Trained`] | how a training went |
//! | [`DecayingAdamW`], [`ScheduledRate`] | AdamW and its learning rate, by a [`RateSchedule`] |

pub mod atomic;
mod best;
mod checkpoint;
mod error;
mod folder;
mod gauge;
pub mod hash;
mod heartbeat;
pub mod logging;
mod loss_chart;
mod metric;
mod optimizer;
mod progress;
mod step_log;
mod steps;
mod trained;
mod unread;

pub use best::{Best, KeepNewestAndBest};
pub use checkpoint::{CheckpointError, Checkpoints, Part};
pub use error::{RunError, chain, write_atomic};
pub use folder::{RunData, RunFolder};
pub use gauge::{Clock, Gauge};
pub use heartbeat::Heartbeat;
pub use loss_chart::draw as draw_losses;
pub use metric::{LOSS, StepMetric};
pub use optimizer::{DecayingAdamW, RateSchedule, ScheduledRate};
pub use progress::PlainProgress;
pub use step_log::{StepLog, StepLoss, StepRecord};
pub use steps::{Counted, Steps, shuffled};
pub use trained::{BestStep, Trained, ended};
pub use unread::{Reading, Unread};
