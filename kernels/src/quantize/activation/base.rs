//! Plan of the activation quantiser.

use crate::device::DeviceFacts;
use crate::error::KernelError;

/// The facts that a plan depends on.
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
    /// A plan for `problem`: the largest power of two of lanes per row of which none is idle.
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

    /// Checks that `device` can run the plan.
    ///
    /// # Errors
    /// [`KernelError::Plan`] if lanes are no power of two or do not divide the units, or if there are more
    /// units than a cube of `device` may have.
    pub fn validate(&self, device: &DeviceFacts) -> Result<(), KernelError> {
        let whole = self.lanes.is_power_of_two() && self.cube_units.is_multiple_of(self.lanes);
        if whole && (1..=device.max_units as usize).contains(&self.cube_units) {
            return Ok(());
        }
        Err(KernelError::Plan {
            reason: format!(
                "{} units do not split into groups of {} lanes, a power of two, or are \
                 more than {}",
                self.cube_units, self.lanes, device.max_units
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GPU: DeviceFacts = DeviceFacts {
        lockstep: true,
        cube_units: 256,
        max_units: 256,
        shared_bytes: 16 << 10,
        vector: 4,
        cuda: None,
    };

    #[test]
    fn short_rows_share_a_cube_and_long_rows_fill_one() {
        for (cols, lanes) in [(1, 32), (128, 32), (300, 128), (2560, 256), (100_000, 256)] {
            let plan = ActivationBlueprint::new(&ActivationProblem { rows: 3, cols }, &GPU);
            assert_eq!(plan.validate(&GPU), Ok(()));
            assert_eq!(
                (plan.lanes, plan.rows_per_cube()),
                (lanes, 256 / lanes),
                "{cols}"
            );
        }
    }

    #[test]
    fn units_that_do_not_split_into_lanes_are_refused() {
        for (lanes, cube_units) in [(3, 6), (4, 6), (0, 0), (1, 0), (512, 512)] {
            let plan = ActivationBlueprint { lanes, cube_units };
            let refused = plan.validate(&GPU);
            assert!(matches!(refused, Err(KernelError::Plan { .. })), "{plan:?}");
        }
    }
}
