//! Plan of the input gradient.

use crate::backward::rows_of_a_unit;
use crate::device::DeviceFacts;

/// The facts of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InputProblem {
    /// Tokens.
    pub m: usize,
    /// Packed words of a weight row.
    pub words: usize,
}

/// The resolved plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct InputBlueprint {
    /// Tokens that one unit computes.
    pub tokens: usize,
}

impl InputBlueprint {
    /// The plan for `problem` on `device`.
    pub fn new(problem: &InputProblem, device: &DeviceFacts) -> Self {
        Self {
            tokens: rows_of_a_unit(problem.m, device),
        }
    }

    /// Units that have work.
    pub fn units(&self, problem: &InputProblem) -> usize {
        problem.m.div_ceil(self.tokens) * problem.words
    }
}
