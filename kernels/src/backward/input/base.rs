//! Plan of the input gradient.

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
    /// Tokens of a unit.
    pub tokens: usize,
}

impl InputBlueprint {
    /// The plan for `problem` on `device`: fewer tokens a unit where units would be idle.
    pub fn new(problem: &InputProblem, device: &DeviceFacts) -> Self {
        let most = if device.lockstep { 4 } else { 8 };
        let tokens = [most, most / 2, 1]
            .into_iter()
            .find(|t| problem.m >= *t)
            .unwrap_or(1);
        Self { tokens }
    }

    /// Units that have work.
    pub fn units(&self, problem: &InputProblem) -> usize {
        problem.m.div_ceil(self.tokens) * problem.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_never_holds_more_tokens_than_there_are() {
        for lockstep in [false, true] {
            let device = DeviceFacts {
                lockstep,
                cube_units: 8,
                max_units: 8,
                shared_bytes: 0,
                vector: 4,
                cuda: None,
            };
            for m in 1..20 {
                let problem = InputProblem { m, words: 3 };
                let plan = InputBlueprint::new(&problem, &device);
                assert!(plan.tokens <= m, "{m} tokens, {plan:?}");
                assert!(plan.units(&problem) * plan.tokens >= 3 * m);
            }
        }
    }
}
