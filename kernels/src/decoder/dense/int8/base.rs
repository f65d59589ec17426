//! Plan of the portable product of int8 rows.

use super::super::base::DensePlan;
use crate::device::DeviceFacts;

/// Inputs from which the i32 sum of products of int8 codes could overflow.
pub(super) const MAX_INPUTS: usize = (1 << 31) / (128 * 128);

/// The plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Int8Plan {
    /// How outputs and columns are divided.
    pub teams: DensePlan,
    /// Whether the device multiplies four codes with one instruction.
    pub dp4a: bool,
}

impl Int8Plan {
    /// A plan for `tokens` tokens.
    pub fn new(tokens: usize, planes: bool, device: &DeviceFacts) -> Self {
        Self {
            teams: DensePlan::new(tokens, planes, device),
            dp4a: device.lockstep,
        }
    }
}
