//! Plan of the portable GEMV.

use crate::device::DeviceFacts;
use crate::dot::{IntegerDot, Tile};
use crate::error::KernelError;
use crate::matmul::MatmulProblem;

/// The resolved plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GemvBlueprint {
    /// Outputs of a group of lanes.
    pub tile: Tile,
    /// Units of a group.
    pub lanes: usize,
    /// Groups of a cube.
    pub groups: usize,
    /// How int8 activations are multiplied.
    pub dot: IntegerDot,
    /// f32 values a float product sums side by side: 4, 8 or 16.
    pub vector: usize,
}

impl GemvBlueprint {
    /// Most tokens for which reading every weight once pays.
    pub const MAX_TOKENS: usize = 4;

    /// The plan for `problem` on `device`.
    pub fn new(problem: &MatmulProblem, device: &DeviceFacts) -> Self {
        let lanes = device.lanes();
        Self {
            tile: Tile {
                rows: 2,
                tokens: problem.m.clamp(1, Self::MAX_TOKENS),
            },
            lanes,
            groups: (device.cube_units as usize / lanes).max(1),
            dot: match device.lockstep {
                true => IntegerDot::Dp4a,
                false => IntegerDot::Wide,
            },
            vector: device.vector,
        }
    }

    /// Weight rows of a cube.
    pub fn rows(&self) -> usize {
        self.groups * self.tile.rows
    }

    /// Units of a cube.
    pub fn units(&self) -> usize {
        self.groups * self.lanes
    }

    /// # Errors
    /// [`KernelError::Plan`] for an empty or oversized tile, lanes that are no power of two or too
    /// few to hold a tile, or a vector that does not divide a word.
    pub fn validate(&self) -> Result<(), KernelError> {
        let tile = (1..=16).contains(&self.tile.len());
        let lanes = self.lanes.is_power_of_two();
        let vector = matches!(self.vector, 4 | 8 | 16);
        if tile && lanes && vector && self.groups > 0 {
            return Ok(());
        }
        Err(KernelError::Plan {
            reason: format!(
                "{self:?} wants a tile of 1 to 16 outputs, a power of two of lanes, groups, and \
                 vectors of 4, 8 or 16"
            ),
        })
    }
}
