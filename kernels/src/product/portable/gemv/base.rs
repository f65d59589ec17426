//! Plan of the portable GEMV.

use crate::device::DeviceFacts;
use crate::device_code::dot::{IntegerDot, UnitTile};
use crate::error::KernelError;
use crate::product::MatmulProblem;

/// The resolved plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GemvBlueprint {
    /// Outputs of a group of lanes.
    pub tile: UnitTile,
    /// Units of a group.
    pub lanes: usize,
    /// Groups of a cube.
    pub groups: usize,
    /// How int8 activations are multiplied.
    pub dot: IntegerDot,
    /// Independent f32 partial sums of a float product: 4, 8 or 16.
    pub vector: usize,
}

impl GemvBlueprint {
    /// Most tokens for which this kernel is chosen.
    pub const MAX_TOKENS: usize = 4;

    /// The plan for `problem` on `device`.
    pub fn new(problem: &MatmulProblem, device: &DeviceFacts) -> Self {
        Self::of_tokens(problem.m, device)
    }

    /// The plan for `m` tokens on `device`.
    pub(crate) fn of_tokens(m: usize, device: &DeviceFacts) -> Self {
        let lanes = device.lanes();
        Self {
            tile: UnitTile {
                rows: 2,
                tokens: m.clamp(1, Self::MAX_TOKENS),
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

    /// Checks that `device` can run the plan.
    ///
    /// # Errors
    /// [`KernelError::Plan`] for a tile that is empty or too large, for lanes that are no power of two, for
    /// a vector that does not divide a word, and for more units or shared memory than `device` has.
    pub fn validate(&self, device: &DeviceFacts) -> Result<(), KernelError> {
        let tile = (1..=16).contains(&self.tile.len());
        let lanes = self.lanes.is_power_of_two();
        let vector = matches!(self.vector, 4 | 8 | 16);
        let units = (1..=device.max_units as usize).contains(&self.units());
        // One partial sum per unit and output.
        let shared = self.tile.len() * self.units() * 4 <= device.shared_bytes;
        if tile && lanes && vector && units && shared {
            return Ok(());
        }
        Err(KernelError::Plan {
            reason: format!(
                "{self:?} wants a tile of 1 to 16 outputs, a power of two of lanes, vectors of 4, \
                 8 or 16, at most {} units and {} bytes of shared memory",
                device.max_units, device.shared_bytes
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use tritburn_formats::WeightCode;

    use super::*;
    use crate::device_code::decode::ScaleKind;
    use crate::prepack::WeightOrder;
    use crate::product::ActivationType;

    const GPU: DeviceFacts = DeviceFacts {
        lockstep: true,
        cube_units: 256,
        max_units: 256,
        shared_bytes: 16 << 10,
        vector: 4,
        cuda: None,
    };

    fn plan(m: usize) -> GemvBlueprint {
        let problem = MatmulProblem {
            m,
            n: 3840,
            k: 2560,
            code: WeightCode::Int2,
            scale: ScaleKind::Group,
            activations: ActivationType::Int8,
            order: WeightOrder::Canonical,
            whole_lines: true,
        };
        GemvBlueprint::new(&problem, &GPU)
    }

    #[test]
    fn a_few_tokens_share_one_pass_over_the_weights() {
        for m in 0..=GemvBlueprint::MAX_TOKENS {
            let plan = plan(m);
            assert_eq!(plan.validate(&GPU), Ok(()), "{m} tokens");
            assert_eq!(plan.tile.tokens, m.max(1));
            assert_eq!((plan.units(), plan.rows()), (256, 16));
        }
    }

    #[test]
    fn plans_that_no_kernel_runs_are_refused() {
        let good = plan(4);
        let tile = |rows, tokens| UnitTile { rows, tokens };
        let tight = DeviceFacts {
            shared_bytes: 4 << 10,
            ..GPU
        };
        for (bad, device) in [
            (
                GemvBlueprint {
                    tile: tile(1, 0),
                    ..good
                },
                GPU,
            ),
            (
                GemvBlueprint {
                    tile: tile(5, 4),
                    ..good
                },
                GPU,
            ),
            (GemvBlueprint { lanes: 12, ..good }, GPU),
            (GemvBlueprint { vector: 2, ..good }, GPU),
            (GemvBlueprint { groups: 0, ..good }, GPU),
            (GemvBlueprint { groups: 64, ..good }, GPU),
            (good, tight),
        ] {
            let refused = bad.validate(&device);
            assert!(matches!(refused, Err(KernelError::Plan { .. })), "{bad:?}");
        }
    }
}
