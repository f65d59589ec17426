//! The plans of a product: the kernels, each with the sizes it is compiled for.

use super::cuda::mma::MmaBlueprint;
use super::cuda::skinny::SkinnyBlueprint;
use super::cuda::wgmma::WgmmaBlueprint;
use super::cuda::wgmma_fused::FusedBlueprint;
use super::cuda::wmma::WmmaBlueprint;
use super::portable::gemm::GemmBlueprint;
use super::portable::gemv::GemvBlueprint;
use super::problem::{ActivationType, MatmulProblem};

/// A kernel with its blueprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Plan {
    /// Any device: a tile of outputs per unit. Canonical weights.
    Gemm(GemmBlueprint),
    /// Any device, few tokens: several units per output. Canonical weights.
    Gemv(GemvBlueprint),
    /// Tensor cores (`mma`), few tokens. Prepacked weights.
    Skinny(SkinnyBlueprint),
    /// Hopper's warpgroup products (`wgmma`). Prepacked weights.
    Wgmma(WgmmaBlueprint),
    /// As [`Wgmma`](Self::Wgmma), and quantises float activations itself
    /// ([`w2a8_quantizing`](super::w2a8_quantizing)).
    Fused(FusedBlueprint),
    /// Warp products (`mma`). Prepacked weights.
    Mma(MmaBlueprint),
    /// Products of WMMA fragments, int8 activations. Prepacked weights.
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
    /// Whether a separate launch quantises the activations before the product.
    pub quantize_first: bool,
    /// The kernel that multiplies.
    pub plan: Plan,
}

impl Schedule {
    /// The launches that `plan` needs for `problem`: the quantiser comes first if the activations are to
    /// be quantised and the kernel takes int8.
    pub(super) fn new(problem: &MatmulProblem, plan: Plan) -> Self {
        let quantized = matches!(problem.activations, ActivationType::Quantized(_));
        Self {
            quantize_first: quantized && !plan.quantizes(),
            plan,
        }
    }
}
