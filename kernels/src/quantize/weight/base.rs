//! Plan of the absolute-mean reduction.

use tritburn_formats::sum::{BLOCK, LANES};

use crate::device::DeviceFacts;
use crate::error::KernelError;

/// Equally long segments of a pitched matrix that are summed alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SumProblem {
    /// Segments.
    pub segments: usize,
    /// Elements of a segment; the last one of a row may be shorter.
    pub len: usize,
    /// Segments of a row, or 0 if a segment is a run of whole rows.
    pub per_row: usize,
}

impl SumProblem {
    /// Partial sums of one segment.
    pub fn blocks(&self) -> usize {
        self.len.div_ceil(BLOCK)
    }

    /// The problem of summing this one's partials.
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
    /// Units that share one block: one for each lane of the summation tree, or one for all.
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

    /// # Errors
    /// [`KernelError::Plan`] unless the units share the lanes evenly and fill the cube.
    pub fn validate(&self) -> Result<(), KernelError> {
        let units = self.units_per_block;
        let shared = units.is_power_of_two() && units <= LANES;
        if shared && self.cube_units > 0 && self.cube_units.is_multiple_of(units) {
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
