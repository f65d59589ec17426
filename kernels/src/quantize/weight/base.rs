//! Plan of the absolute-mean reduction.

use tritburn_formats::sum::{BLOCK, LANES};

use crate::device::DeviceFacts;
use crate::error::KernelError;

/// The segments of a pitched matrix, all of one length, each of which gets a sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SumProblem {
    /// Segments.
    pub segments: usize,
    /// Elements of a segment; the last segment of a row may be shorter.
    pub len: usize,
    /// Segments of a row, or 0 if a segment is a run of whole rows.
    pub per_row: usize,
}

impl SumProblem {
    /// Partial sums of one segment.
    pub fn blocks(&self) -> usize {
        self.len.div_ceil(BLOCK)
    }

    /// The next level of the reduction: the sum of this problem's partial sums.
    pub fn partials(&self) -> Self {
        Self {
            segments: self.segments,
            len: self.blocks(),
            per_row: 1,
        }
    }
}

/// The resolved plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SumBlueprint {
    /// Units of a block: one per lane of the summation tree, or one for all lanes.
    pub units_per_block: usize,
    /// Units of a cube.
    pub cube_units: usize,
}

impl SumBlueprint {
    /// The plan for `device`.
    pub fn new(device: &DeviceFacts) -> Self {
        Self {
            units_per_block: device.lanes(),
            cube_units: device.cube_units as usize,
        }
    }

    /// Blocks that a cube sums.
    pub fn blocks_per_cube(&self) -> usize {
        self.cube_units / self.units_per_block
    }

    /// Checks that `device` can run the plan.
    ///
    /// # Errors
    /// [`KernelError::Plan`] unless the units divide the lanes evenly and fill the cube, and a cube of
    /// `device` may have that many.
    pub fn validate(&self, device: &DeviceFacts) -> Result<(), KernelError> {
        let units = self.units_per_block;
        let shared = units.is_power_of_two() && units <= LANES;
        let fits = (1..=device.max_units as usize).contains(&self.cube_units);
        if shared && fits && self.cube_units.is_multiple_of(units) {
            return Ok(());
        }
        Err(KernelError::Plan {
            reason: format!(
                "{units} units for {LANES} lanes in a cube of {}",
                self.cube_units
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
    fn a_plan_sums_blocks_side_by_side() {
        let plan = SumBlueprint::new(&GPU);
        assert_eq!(plan.validate(&GPU), Ok(()));
        assert_eq!(plan.blocks_per_cube(), 8);
        let threads = DeviceFacts {
            lockstep: false,
            cube_units: 3,
            ..GPU
        };
        assert_eq!(SumBlueprint::new(&threads).blocks_per_cube(), 3);
    }

    #[test]
    fn units_that_do_not_share_the_lanes_are_refused() {
        for (units_per_block, cube_units) in [(3, 6), (64, 64), (2, 3), (1, 0), (32, 512)] {
            let plan = SumBlueprint {
                units_per_block,
                cube_units,
            };
            let refused = plan.validate(&GPU);
            assert!(matches!(refused, Err(KernelError::Plan { .. })), "{plan:?}");
        }
    }
}
