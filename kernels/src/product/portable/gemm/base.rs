//! Plan of the portable GEMM.

use crate::device::DeviceFacts;
use crate::device_code::dot::{IntegerDot, UnitTile};
use crate::error::KernelError;
use crate::product::{ActivationType, MatmulProblem};

/// The resolved plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GemmBlueprint {
    /// Outputs of a unit.
    pub tile: UnitTile,
    /// Units of a cube along the weight rows.
    pub units_n: usize,
    /// Units of a cube along the tokens.
    pub units_m: usize,
    /// How int8 activations are multiplied.
    pub dot: IntegerDot,
    /// Independent f32 partial sums of a float product: 4, 8 or 16.
    pub lanes: usize,
}

impl GemmBlueprint {
    /// The plan for `problem` on `device`.
    pub fn new(problem: &MatmulProblem, device: &DeviceFacts) -> Self {
        let units = device.cube_units as usize;
        if !device.lockstep {
            // Units are CPU threads. Each computes different rows, so that weights are read once.
            let tokens = problem.m.clamp(1, 4);
            return Self {
                tile: UnitTile { rows: 4, tokens },
                units_n: units,
                units_m: 1,
                dot: IntegerDot::Wide,
                lanes: device.vector,
            };
        }
        let tokens = if problem.activations == ActivationType::Int8 {
            4
        } else {
            2
        };
        let units_m = (units / 16)
            .min(problem.m.div_ceil(tokens).next_power_of_two())
            .max(1);
        Self {
            tile: UnitTile {
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

    /// Checks that `device` can run the plan.
    ///
    /// # Errors
    /// [`KernelError::Plan`] for a tile that is empty or too large, for lanes that do not divide a word,
    /// and for more units than a cube of `device` may have.
    pub fn validate(&self, device: &DeviceFacts) -> Result<(), KernelError> {
        let tile = (1..=32).contains(&self.tile.len());
        let lanes = matches!(self.lanes, 4 | 8 | 16);
        let units = (1..=device.max_units as usize).contains(&self.units());
        if tile && lanes && units {
            return Ok(());
        }
        Err(KernelError::Plan {
            reason: format!(
                "{self:?} wants a tile of 1 to 32 outputs, 1 to {} units, and 4, 8 or 16 lanes",
                device.max_units
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use tritburn_formats::WeightCode;

    use super::*;
    use crate::device_code::decode::ScaleKind;
    use crate::operand::FloatType;
    use crate::prepack::WeightOrder;

    fn device(lockstep: bool) -> DeviceFacts {
        DeviceFacts {
            lockstep,
            cube_units: if lockstep { 256 } else { 12 },
            max_units: if lockstep { 256 } else { u32::MAX },
            shared_bytes: 16 << 10,
            vector: if lockstep { 4 } else { 16 },
            cuda: None,
        }
    }

    fn problem(m: usize, integer: bool) -> MatmulProblem {
        MatmulProblem {
            m,
            n: 6912,
            k: 2560,
            code: WeightCode::Ternary,
            scale: ScaleKind::Tensor,
            activations: match integer {
                true => ActivationType::Int8,
                false => FloatType::F32.into(),
            },
            order: WeightOrder::Canonical,
            whole_lines: true,
        }
    }

    #[test]
    fn every_number_of_tokens_takes_a_plan_that_fills_the_cube() {
        for lockstep in [false, true] {
            let device = device(lockstep);
            for m in [0, 1, 2, 3, 5, 8, 16, 17, 100, 8192] {
                for integer in [false, true] {
                    let plan = GemmBlueprint::new(&problem(m, integer), &device);
                    assert_eq!(plan.validate(&device), Ok(()), "{m} tokens: {plan:?}");
                    assert_eq!(plan.units(), device.cube_units as usize, "{m} tokens");
                }
            }
        }
    }

    #[test]
    fn a_cube_holds_no_more_token_units_than_there_are_tokens() {
        let plan = GemmBlueprint::new(&problem(5, true), &device(true));
        assert_eq!((plan.units_m, plan.tile.tokens), (2, 4));
        assert_eq!(plan.rows(), 128 * 4);
    }

    #[test]
    fn plans_that_no_kernel_runs_are_refused() {
        let device = device(true);
        let good = GemmBlueprint::new(&problem(64, true), &device);
        let tile = |rows, tokens| UnitTile { rows, tokens };
        for bad in [
            GemmBlueprint {
                tile: tile(0, 4),
                ..good
            },
            GemmBlueprint {
                tile: tile(8, 8),
                ..good
            },
            GemmBlueprint { lanes: 3, ..good },
            GemmBlueprint { units_n: 0, ..good },
            GemmBlueprint {
                units_n: 1024,
                ..good
            },
        ] {
            let refused = bad.validate(&device);
            assert!(matches!(refused, Err(KernelError::Plan { .. })), "{bad:?}");
        }
    }
}
