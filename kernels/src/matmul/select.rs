//! Which tensor-core kernel multiplies prepacked weights.

use super::base::{ActivationType, MatmulProblem, Plan};
use crate::device::{CudaFacts, DeviceFacts};
use crate::gemm::cuda::mma::MmaBlueprint;
use crate::gemm::cuda::wgmma::WgmmaBlueprint;
use crate::gemv::cuda::{Operand, SkinnyBlueprint};
use crate::operand::FloatType;
use crate::ptx::MmaType;

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
