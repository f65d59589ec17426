//! Plans, and what a caller may choose.

use super::problem::MatmulProblem;
use super::{plans, select};
use crate::device::DeviceFacts;
use crate::product::cuda::mma::MmaBlueprint;
use crate::product::cuda::skinny::SkinnyBlueprint;
use crate::product::cuda::wgmma::WgmmaBlueprint;
use crate::product::cuda::wgmma_fused::FusedBlueprint;
use crate::product::cuda::wmma::WmmaBlueprint;
use crate::product::portable::gemm::GemmBlueprint;
use crate::product::portable::gemv::GemvBlueprint;

/// What a caller may choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strategy {
    /// The best kernel for shape and device.
    #[default]
    Auto,
    /// This one, or an error.
    Forced(Plan),
}

/// A kernel with its resolved plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Plan {
    /// A tile of outputs per unit.
    Gemm(GemmBlueprint),
    /// Several units per output, for a few tokens.
    Gemv(GemvBlueprint),
    /// Tensor cores, a few tokens; prepacked weights.
    Skinny(SkinnyBlueprint),
    /// Hopper's warpgroup products; prepacked weights.
    Wgmma(WgmmaBlueprint),
    /// The same, which quantises float activations itself ([`w2a8_quantizing`](super::w2a8_quantizing)).
    Fused(FusedBlueprint),
    /// Warp products; prepacked weights.
    Mma(MmaBlueprint),
    /// Products of WMMA fragments, int8 activations; prepacked weights.
    Wmma(WmmaBlueprint),
}

impl Plan {
    /// Whether the kernel takes float activations and rounds them to int8 itself, for
    /// [`w2a8_quantizing`](super::w2a8_quantizing).
    pub const fn quantizes(&self) -> bool {
        match self {
            Self::Fused(_) => true,
            Self::Skinny(plan) => plan.quantizes,
            _ => false,
        }
    }
}

impl Strategy {
    /// Resolves the strategy for `problem` on `device`.
    pub fn plan(&self, problem: &MatmulProblem, device: &DeviceFacts) -> Plan {
        match self {
            Self::Forced(plan) => *plan,
            Self::Auto => plans::chosen(problem, device, || Self::choose(problem, device)),
        }
    }

    fn choose(problem: &MatmulProblem, device: &DeviceFacts) -> Plan {
        let few = device.lockstep && problem.m <= GemvBlueprint::MAX_TOKENS;
        match problem.fragments {
            Some(_) if problem.quantizes() => select::quantizing(problem, device)
                .unwrap_or_else(|| Self::Auto.plan(&problem.quantized(), device)),
            Some(_) => select::fragments(problem, device),
            None if few => Plan::Gemv(GemvBlueprint::new(problem, device)),
            None => Plan::Gemm(GemmBlueprint::new(problem, device)),
        }
    }
}
