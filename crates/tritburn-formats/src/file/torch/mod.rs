//! Torch checkpoints (`.pt`): the zip files that `torch.save` writes since torch 1.6.
//!
//! An archive of a pickle (`data.pkl`: names, types, shapes, which storage) and of one stored entry a
//! storage (`data/0`, ...). The pickle is read by `pytorch-reader`, the maintained reader that Burn uses
//! and that needs neither Burn nor torch: it interprets the few calls that rebuild tensors and executes
//! nothing. Other pickle crates know no persistent ids, in which tensors are written.

mod pickle;
mod read;
mod write;

pub use read::TorchCheckpoint;
pub use write::TorchWriter;
