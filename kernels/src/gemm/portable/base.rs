//! Plan of the portable GEMM.

use crate::device::DeviceFacts;
use crate::dot::{IntegerDot, Tile};
use crate::error::KernelError;
use crate::matmul::MatmulProblem;

/// The resolved plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GemmBlueprint {
    /// Outputs of a unit.
    pub tile: Tile,
    /// Units of a cube along the weight rows.
    pub units_n: usize,
    /// Units of a cube along the tokens.
    pub units_m: usize,
    /// How int8 activations are multiplied.
    pub dot: IntegerDot,
    /// f32 lanes a float product sums side by side: 4, 8 or 16.
    pub lanes: usize,
}

impl GemmBlueprint {
    /// The plan for `problem` on `device`.
    pub fn new(problem: &MatmulProblem, device: &DeviceFacts) -> Self {
        let units = device.cube_units as usize;
        if !device.lockstep {
            // Threads: each takes rows of its own, so that weights are read once.
            let tokens = problem.m.clamp(1, 4);
            return Self {
                tile: Tile { rows: 4, tokens },
                units_n: units,
                units_m: 1,
                dot: IntegerDot::Wide,
                lanes: device.vector,
            };
        }
        let tokens = if problem.integer { 4 } else { 2 };
        let units_m = (units / 16)
            .min(problem.m.div_ceil(tokens).next_power_of_two())
            .max(1);
        Self {
            tile: Tile {
                rows: tokens,
                tokens,
            },
            units_n: units / units_m,
            units_m,
            dot: IntegerDot::Dp4a,
            lanes: device.vector,
        }
    }

    /// Weight rows of a cube.
    pub fn rows(&self) -> usize {
        self.units_n * self.tile.rows
    }

    /// Tokens of a cube.
    pub fn tokens(&self) -> usize {
        self.units_m * self.tile.tokens
    }

    /// Units of a cube.
    pub fn units(&self) -> usize {
        self.units_n * self.units_m
    }

    /// # Errors
    /// [`KernelError::Plan`] for an empty or oversized tile, or lanes that do not divide a word.
    pub fn validate(&self) -> Result<(), KernelError> {
        let tile = (1..=32).contains(&self.tile.len());
        let lanes = matches!(self.lanes, 4 | 8 | 16);
        if tile && lanes && self.units() > 0 {
            return Ok(());
        }
        Err(KernelError::Plan {
            reason: format!(
                "{self:?} wants a tile of 1 to 32 outputs, units, and 4, 8 or 16 lanes"
            ),
        })
    }
}
