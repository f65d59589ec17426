//! What a product may run as.

use super::cuda::mma::MmaBlueprint;
use super::cuda::skinny::SkinnyBlueprint;
use super::cuda::wgmma::WgmmaBlueprint;
use super::cuda::wgmma_fused::FusedBlueprint;
use super::cuda::wmma::WmmaBlueprint;
use super::portable::gemm::GemmBlueprint;
use super::portable::gemv::GemvBlueprint;
use super::problem::{ActivationType, MatmulProblem};

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
    /// The same, which quantises float activations itself
    /// ([`w2a8_quantizing`](super::w2a8_quantizing)).
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

/// The launches of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The activations are quantised by a launch of their own, before the product.
    pub quantize_first: bool,
    /// The kernel that multiplies.
    pub plan: Plan,
}

impl Schedule {
    /// `plan` for `problem`, after the quantiser if `problem` has activations to be quantised and
    /// the kernel takes int8.
    pub(super) fn new(problem: &MatmulProblem, plan: Plan) -> Self {
        let quantized = matches!(problem.activations, ActivationType::Quantized(_));
        Self {
            quantize_first: quantized && !plan.quantizes(),
            plan,
        }
    }
}
