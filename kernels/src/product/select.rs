//! Selects the kernel, and its sizes, for a problem and device.

use super::cuda::MmaInput;
use super::cuda::mma::MmaBlueprint;
use super::cuda::skinny::SkinnyBlueprint;
use super::cuda::wgmma::WgmmaBlueprint;
use super::cuda::wgmma_fused::{FusedBlueprint, QUANTISER};
use super::cuda::wmma::WmmaBlueprint;
use super::plan::{Plan, Schedule};
use super::plan_cache;
use super::portable::gemm::GemmBlueprint;
use super::portable::gemv::GemvBlueprint;
use super::problem::{ActivationType, MatmulProblem};
use crate::device::{CudaFacts, DeviceFacts};
use crate::device_code::MmaType;
use crate::prepack::{FragmentOrder, WeightOrder};

/// How a product's plan is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strategy {
    /// The plan that is predicted to be fastest for the problem and device.
    #[default]
    Auto,
    /// This plan, or an error if it cannot run the problem.
    Forced(Plan),
}

impl Strategy {
    /// The launches for `problem` on `device`. The choices of [`Auto`](Self::Auto) are remembered.
    pub fn plan(&self, problem: &MatmulProblem, device: &DeviceFacts) -> Schedule {
        match self {
            Self::Forced(plan) => Schedule::new(problem, *plan),
            Self::Auto => plan_cache::chosen(problem, device, || auto(problem, device)),
        }
    }
}

fn auto(problem: &MatmulProblem, device: &DeviceFacts) -> Schedule {
    let plan = quantizing(problem, device).unwrap_or_else(|| match problem.activations {
        ActivationType::Quantized(_) => product(&problem.after_quantizer(), device),
        ActivationType::Int8 | ActivationType::Float(_) => product(problem, device),
    });
    Schedule::new(problem, plan)
}

/// The plan for activations that need no quantiser.
fn product(problem: &MatmulProblem, device: &DeviceFacts) -> Plan {
    match problem.order {
        WeightOrder::Canonical => canonical(problem, device),
        WeightOrder::Fragments(_) => fragments(problem, device),
    }
}

/// The plan for canonical weights.
fn canonical(problem: &MatmulProblem, device: &DeviceFacts) -> Plan {
    if device.lockstep && problem.m <= GemvBlueprint::MAX_TOKENS {
        Plan::Gemv(GemvBlueprint::new(problem, device))
    } else {
        Plan::Gemm(GemmBlueprint::new(problem, device))
    }
}

/// The plan for prepacked weights. For a device without tensor cores it is one that the launch refuses.
fn fragments(problem: &MatmulProblem, device: &DeviceFacts) -> Plan {
    let cuda = device.cuda.unwrap_or(CudaFacts {
        capability: 0,
        multiprocessors: 1,
    });
    let operand = MmaInput::of(problem.activations);
    // With more than 8 tokens, GEMMs, whose warps share staged activations, beat the GEMV.
    let few = problem.m <= 8;
    match cuda.capability {
        // Before Ampere there is no `mma.m16n8k32`.
        72 | 75 => Plan::Wmma(WmmaBlueprint::new(problem, &cuda)),
        _ if few || operand.terms == 3 || !problem.whole_lines => {
            Plan::Skinny(SkinnyBlueprint::new(problem, operand, &cuda))
        }
        90 => Plan::Wgmma(WgmmaBlueprint::new(problem, operand.types, &cuda)),
        _ => warps(problem, operand.types, &cuda),
    }
}

/// The faster of the two warp-level GEMMs (`mma`, WMMA), by their models of the device.
fn warps(problem: &MatmulProblem, types: MmaType, cuda: &CudaFacts) -> Plan {
    let mma = MmaBlueprint::new(problem, types, cuda);
    if types == MmaType::Int8 {
        let wmma = WmmaBlueprint::new(problem, cuda);
        if wmma.cycles(problem, cuda) < mma.cycles(problem, types, cuda) {
            return Plan::Wmma(wmma);
        }
    }
    Plan::Mma(mma)
}

/// The plan of one launch that quantises float activations and multiplies. `None` if two launches are
/// faster.
fn quantizing(problem: &MatmulProblem, device: &DeviceFacts) -> Option<Plan> {
    let cuda = device.cuda?;
    let ActivationType::Quantized(dtype) = problem.activations else {
        return None;
    };
    if problem.order != WeightOrder::Fragments(FragmentOrder::Int8) {
        return None;
    }
    // Up to 8 tokens run on the GEMV, which can quantise a single token.
    if problem.m <= 8 {
        return SkinnyBlueprint::quantizing(problem, dtype, &cuda).map(Plan::Skinny);
    }
    let plan = FusedBlueprint::new(problem, &cuda)?;
    let after = problem.after_quantizer();
    let product = WgmmaBlueprint::new(&after, MmaType::Int8, &cuda);
    let apart = QUANTISER + product.cycles(&after, MmaType::Int8, &cuda);
    let inside = plan.cycles(problem, &cuda);
    // A prediction within 3 % is a tie, given the models' accuracy; a tie goes to two launches.
    (inside + inside / 32 < apart).then_some(Plan::Fused(plan))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::device::test_gpus::{AMPERE, AMPERE_AND_LATER, HOPPER, TURING, XAVIER};
    use crate::operand::FloatType;
    use crate::product::problem::problem;

    /// A name for each variant: one more has this test fail to compile.
    fn variant(plan: &Plan) -> &'static str {
        match plan {
            Plan::Gemm(_) => "gemm",
            Plan::Gemv(_) => "gemv",
            Plan::Skinny(_) => "skinny",
            Plan::Wgmma(_) => "wgmma",
            Plan::Fused(_) => "fused",
            Plan::Mma(_) => "mma",
            Plan::Wmma(_) => "wmma",
        }
    }

    #[test]
    fn every_plan_is_chosen_on_some_device() {
        let portable = DeviceFacts {
            cuda: None,
            ..AMPERE
        };
        let devices = [portable, XAVIER, TURING]
            .into_iter()
            .chain(AMPERE_AND_LATER);
        let mut chosen = BTreeSet::new();
        for device in devices {
            for m in [1, 3, 16, 1024] {
                let int8 = problem(m, 512, 2048);
                let order = match device.cuda {
                    Some(_) => WeightOrder::Fragments(FragmentOrder::Int8),
                    None => WeightOrder::Canonical,
                };
                for activations in [ActivationType::Int8, floats(m, 512, 2048).activations] {
                    let problem = MatmulProblem {
                        activations,
                        order,
                        ..int8
                    };
                    chosen.insert(variant(&Strategy::Auto.plan(&problem, &device).plan));
                }
            }
        }
        let all = ["fused", "gemm", "gemv", "mma", "skinny", "wgmma", "wmma"];
        assert_eq!(chosen, BTreeSet::from(all));
    }

    #[test]
    fn turing_and_xavier_multiply_int8_with_wmma() {
        for device in [TURING, XAVIER] {
            for m in [1, 8, 17, 4096] {
                let problem = MatmulProblem {
                    order: WeightOrder::Fragments(FragmentOrder::Int8),
                    ..problem(m, 2560, 6912)
                };
                for activations in [problem.activations, floats(m, 1, 1).activations] {
                    let problem = MatmulProblem {
                        activations,
                        ..problem
                    };
                    let schedule = Strategy::Auto.plan(&problem, &device);
                    assert!(matches!(schedule.plan, Plan::Wmma(_)), "{schedule:?}");
                    let floats = activations != ActivationType::Int8;
                    assert_eq!(schedule.quantize_first, floats, "{schedule:?}");
                }
            }
        }
    }

    #[test]
    fn activations_are_quantised_first_unless_the_kernel_does_it() {
        for (m, n, k) in [(1, 4096, 4096), (1024, 512, 2048), (8192, 4096, 4096)] {
            let problem = floats(m, n, k);
            let schedule = Strategy::Auto.plan(&problem, &HOPPER);
            assert_eq!(schedule.quantize_first, !schedule.plan.quantizes());
            let after = problem.after_quantizer();
            let product = Strategy::Auto.plan(&after, &HOPPER);
            assert!(!product.quantize_first);
            if schedule.quantize_first {
                assert_eq!(schedule.plan, product.plan);
            }
            let forced = Strategy::Forced(product.plan).plan(&problem, &HOPPER);
            assert!(forced.quantize_first);
        }
    }

    fn floats(m: usize, n: usize, k: usize) -> MatmulProblem {
        MatmulProblem {
            activations: ActivationType::Quantized(FloatType::BF16),
            order: WeightOrder::Fragments(FragmentOrder::Int8),
            ..problem(m, n, k)
        }
    }

    #[test]
    fn small_products_of_many_tokens_quantise_inside_and_large_ones_do_not() {
        // As timed: 6.5 for 8.6 µs, 5.3 for 8.3, 4.9 for 7.1.
        for (m, n, k) in [(1024, 512, 2048), (1024, 2048, 512), (16, 4096, 4096)] {
            assert!(
                quantizing(&floats(m, n, k), &HOPPER).is_some(),
                "{m} {n} {k}"
            );
        }
        for (n, k) in [(2560, 2560), (4096, 4096), (6912, 2560), (2560, 6912)] {
            assert!(quantizing(&floats(16, n, k), &HOPPER).is_some(), "{n} {k}");
            for m in [2, 4, 512, 2048, 8192] {
                assert_eq!(quantizing(&floats(m, n, k), &HOPPER), None, "{m} {n} {k}");
            }
        }
    }

    #[test]
    fn one_token_is_quantised_by_the_warps_that_multiply_it() {
        for k in [8, 128, 2560, 6912, 28_672] {
            let plan = quantizing(&floats(1, 4096, k), &HOPPER);
            assert!(
                matches!(plan, Some(Plan::Skinny(plan)) if plan.quantizes),
                "{k}"
            );
        }
        // Rows that end within a line, or are too long.
        for k in [4, 2052, 1 << 16] {
            assert_eq!(quantizing(&floats(1, 4096, k), &HOPPER), None, "{k}");
        }
        assert_eq!(quantizing(&floats(2, 4096, 4096), &HOPPER), None);
        // Two launches were faster: every 16 rows quantise anew.
        assert_eq!(quantizing(&floats(1, 28_672, 8192), &HOPPER), None);
    }

    #[test]
    fn other_gpus_and_weights_quantise_apart() {
        let small = floats(1024, 512, 2048);
        assert_eq!(quantizing(&small, &AMPERE), None);
        assert_eq!(quantizing(&floats(1, 512, 2048), &AMPERE), None);
        let canonical = MatmulProblem {
            order: WeightOrder::Canonical,
            ..small
        };
        assert_eq!(quantizing(&canonical, &HOPPER), None);
    }
}
