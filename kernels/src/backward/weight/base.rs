//! Plan of the weight gradient.

use crate::backward::rows_of_a_unit;
use crate::device::DeviceFacts;

/// The facts of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WeightProblem {
    /// Weight rows.
    pub n: usize,
    /// Lines of 16 activations in a row.
    pub lines: usize,
}

/// The resolved plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct WeightBlueprint {
    /// Weight rows that one unit computes.
    pub rows: usize,
    /// Whether the device can read four words as a vector of sixteen i8.
    pub bytes: bool,
}

impl WeightBlueprint {
    /// The plan for `problem` on `device`.
    pub fn new(problem: &WeightProblem, device: &DeviceFacts) -> Self {
        Self {
            rows: rows_of_a_unit(problem.n, device),
            bytes: !device.lockstep,
        }
    }

    /// Units that have work.
    pub fn units(&self, problem: &WeightProblem) -> usize {
        problem.n.div_ceil(self.rows) * problem.lines
    }
}
