//! A cache of chosen plans, because ranking the candidates takes longer than a small product.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use super::plan::Schedule;
use super::problem::MatmulProblem;
use crate::device::DeviceFacts;

/// Most problems that are remembered: more than a model has layers times batch sizes.
const MOST: usize = 4096;

static CHOSEN: LazyLock<Mutex<HashMap<(MatmulProblem, DeviceFacts), Schedule>>> =
    LazyLock::new(Mutex::default);

/// The schedule for `problem` on `device`; `choose` is called for the first request only.
pub(super) fn chosen(
    problem: &MatmulProblem,
    device: &DeviceFacts,
    choose: impl FnOnce() -> Schedule,
) -> Schedule {
    let key = (*problem, *device);
    // A poisoned lock is fine: entries are inserted whole.
    let lock = || CHOSEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(plan) = lock().get(&key) {
        return *plan;
    }
    let plan = choose();
    let mut plans = lock();
    if plans.len() >= MOST {
        plans.clear();
    }
    plans.insert(key, plan);
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::test_gpus::{AMPERE, HOPPER};
    use crate::prepack::{FragmentOrder, WeightOrder};
    use crate::product::Strategy;
    use crate::product::problem::problem;

    #[test]
    fn a_problem_is_asked_for_once_and_devices_are_kept_apart() {
        let problem = MatmulProblem {
            order: WeightOrder::Fragments(FragmentOrder::Int8),
            ..problem(77, 1234, 4321)
        };
        let [hopper, ampere] = [HOPPER, AMPERE].map(|device| {
            let plan = Strategy::Auto.plan(&problem, &device);
            let again = chosen(&problem, &device, || panic!("chosen before"));
            assert_eq!(plan, again);
            plan
        });
        assert_ne!(hopper, ampere);
    }
}
