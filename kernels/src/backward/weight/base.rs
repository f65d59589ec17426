//! Plan of the weight gradient.

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
    /// Weight rows of a unit.
    pub rows: usize,
    /// The device reads four words as sixteen i8 at once.
    pub bytes: bool,
}

impl WeightBlueprint {
    /// The plan for `problem` on `device`.
    pub fn new(problem: &WeightProblem, device: &DeviceFacts) -> Self {
        let most = if device.lockstep { 4 } else { 8 };
        let rows = [most, most / 2, 1]
            .into_iter()
            .find(|r| problem.n >= *r)
            .unwrap_or(1);
        Self {
            rows,
            bytes: !device.lockstep,
        }
    }

    /// Units that have work.
    pub fn units(&self, problem: &WeightProblem) -> usize {
        problem.n.div_ceil(self.rows) * problem.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_never_holds_more_rows_than_there_are() {
        for lockstep in [false, true] {
            let device = DeviceFacts {
                lockstep,
                cube_units: 8,
                max_units: 8,
                shared_bytes: 0,
                vector: 4,
                cuda: None,
            };
            for n in 1..20 {
                let problem = WeightProblem { n, lines: 3 };
                let plan = WeightBlueprint::new(&problem, &device);
                assert!(plan.rows <= n, "{n} rows, {plan:?}");
                assert!(plan.units(&problem) * plan.rows >= 3 * n);
            }
        }
    }
}
