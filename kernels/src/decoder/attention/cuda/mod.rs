//! Attention of a prompt on tensor cores.

mod base;
mod kernel;

pub(super) use base::PrefillPlan;
pub(super) use kernel::{PrefillExtentsLaunch, prefill_mma};
