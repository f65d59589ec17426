//! Which tensor-core kernel multiplies prepacked weights.

use super::plan::Plan;
use super::problem::{ActivationType, MatmulProblem};
use crate::device::{CudaFacts, DeviceFacts};
use crate::device_code::MmaType;
use crate::operand::FloatType;
use crate::product::cuda::Operand;
use crate::product::cuda::mma::MmaBlueprint;
use crate::product::cuda::skinny::SkinnyBlueprint;
use crate::product::cuda::wgmma::WgmmaBlueprint;
use crate::product::cuda::wgmma_fused::{FusedBlueprint, QUANTISER};

/// The plan for prepacked weights. Where the device has no tensor cores it is one that the launch
/// refuses.
pub(super) fn fragments(problem: &MatmulProblem, device: &DeviceFacts) -> Plan {
    let cuda = device.cuda.unwrap_or(CudaFacts {
        capability: 0,
        multiprocessors: 1,
    });
    let (types, terms) = match problem.activations {
        ActivationType::Int8 => (MmaType::Int8, 1),
        ActivationType::Float(FloatType::F32) => (MmaType::Bf16, 3),
        ActivationType::Float(dtype) => (MmaType::of(dtype), 1),
    };
    let skinny = || {
        Plan::Skinny(SkinnyBlueprint::new(
            problem,
            Operand { types, terms },
            &cuda,
        ))
    };
    // Above 8 tokens a cube that shares activations beats warps that each load their own.
    let few = problem.m <= 8;
    match cuda.capability {
        _ if few || terms == 3 || !problem.whole_lines => skinny(),
        90 => Plan::Wgmma(WgmmaBlueprint::new(problem, types, &cuda)),
        _ => Plan::Mma(MmaBlueprint::new(problem, types, &cuda)),
    }
}

/// The plan for one launch that quantises float activations and multiplies, where that is faster than
/// two.
pub(super) fn quantizing(problem: &MatmulProblem, device: &DeviceFacts) -> Option<Plan> {
    let cuda = device.cuda?;
    let ActivationType::Float(dtype) = problem.activations else {
        return None;
    };
    // Without prepacked weights there is nothing to choose.
    if !problem.quantizes() {
        return None;
    }
    // A few tokens go to warps that take int8, one to warps that quantise it.
    if problem.m <= 8 {
        return SkinnyBlueprint::quantizing(problem, dtype, &cuda).map(Plan::Skinny);
    }
    let plan = FusedBlueprint::new(problem, &cuda)?;
    let after = problem.quantized();
    let product = WgmmaBlueprint::new(&after, MmaType::Int8, &cuda);
    let apart = QUANTISER + product.cycles(&after, MmaType::Int8, &cuda);
    let inside = plan.cycles(problem, &cuda);
    // Neither model is that exact: what is as fast by them takes the launches that have proved themselves.
    (inside + inside / 32 < apart).then_some(Plan::Fused(plan))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepack::FragmentOrder;
    use crate::product::cuda::test_gpus::{AMPERE, HOPPER, problem};

    fn floats(m: usize, n: usize, k: usize) -> MatmulProblem {
        MatmulProblem {
            activations: ActivationType::Float(FloatType::BF16),
            fragments: Some(FragmentOrder::Int8),
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
            fragments: None,
            ..small
        };
        assert_eq!(quantizing(&canonical, &HOPPER), None);
    }
}
