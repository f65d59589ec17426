//! Plan of the portable products.

use crate::device::DeviceFacts;
use crate::device_code::team::{Fold, Team};

/// The plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct DensePlan {
    /// Rows of W that a team of lanes multiplies.
    pub rows: usize,
    /// Tokens that a team multiplies them with.
    pub tokens: usize,
    /// Units of a team.
    pub lanes: usize,
    /// Units of a cube.
    pub units: usize,
    /// How the lanes of a team reduce their sums.
    pub fold: Fold,
}

impl DensePlan {
    /// Most tokens that are multiplied in one pass over W.
    pub const MAX_TOKENS: usize = 16;

    /// A plan for `tokens` tokens.
    pub fn new(tokens: usize, planes: bool, device: &DeviceFacts) -> Self {
        let units = device.cube_units as usize;
        let (lanes, fold) = match (device.lockstep, planes) {
            (false, _) => (1, Fold::Alone),
            (true, true) => (32, Fold::Planes),
            (true, false) => (units, Fold::Tree),
        };
        let tokens = tokens.next_power_of_two().min(Self::MAX_TOKENS);
        Self {
            // A team has rows · tokens accumulators: with more tokens, fewer rows.
            rows: if tokens > 8 { 2 } else { 4 },
            tokens,
            lanes,
            units,
            fold,
        }
    }

    /// Teams of a cube.
    pub const fn teams(self) -> usize {
        self.units / self.lanes
    }

    /// The whole cube as a team: what [`Fold::Tree`] reduces.
    pub const fn cube(self) -> Team {
        Team {
            units: self.units,
            fold: self.fold,
        }
    }
}
