//! Plan of the activation quantiser.

use crate::device::DeviceFacts;
use crate::error::KernelError;

/// The facts of a quantisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActivationProblem {
    /// Tokens.
    pub rows: usize,
    /// Inputs of a token.
    pub cols: usize,
}

/// The resolved plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ActivationBlueprint {
    /// Units that share one row.
    pub lanes: usize,
    /// Units of a cube, a multiple of `lanes`.
    pub cube_units: usize,
}

impl ActivationBlueprint {
    /// A plan for `problem`: the widest power of two of units that all find inputs in a row.
    pub fn new(problem: &ActivationProblem, device: &DeviceFacts) -> Self {
        let cube_units = device.cube_units as usize;
        let lanes = match device.lockstep {
            true => (problem.cols.div_ceil(4).next_power_of_two()).clamp(32, cube_units.max(32)),
            false => 1,
        };
        Self {
            lanes,
            cube_units: cube_units.max(lanes),
        }
    }

    /// Rows that a cube handles.
    pub fn rows_per_cube(&self) -> usize {
        self.cube_units / self.lanes
    }

    /// # Errors
    /// [`KernelError::Plan`] if the units do not split into power-of-two groups of lanes.
    pub fn validate(&self) -> Result<(), KernelError> {
        let whole = self.lanes.is_power_of_two() && self.cube_units.is_multiple_of(self.lanes);
        if whole && self.cube_units > 0 {
            return Ok(());
        }
        Err(KernelError::Plan {
            reason: format!(
                "{} units do not split into groups of {} lanes, a power of two",
                self.cube_units, self.lanes
            ),
        })
    }
}
