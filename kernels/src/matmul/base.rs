//! Which kernel multiplies: the selector in front of `gemm` and `gemv`.

use tritburn_formats::{PackedLayout, WeightCode};

use super::{plans, select};
use crate::decode::ScaleKind;
use crate::device::DeviceFacts;
use crate::gemm::cuda::mma::MmaBlueprint;
use crate::gemm::cuda::wgmma::WgmmaBlueprint;
use crate::gemm::cuda::wgmma::fused::FusedBlueprint;
use crate::gemm::cuda::wmma::WmmaBlueprint;
use crate::gemm::portable::GemmBlueprint;
use crate::gemv::cuda::SkinnyBlueprint;
use crate::gemv::portable::GemvBlueprint;
use crate::operand::FloatType;
use crate::prepack::FragmentOrder;

/// The facts of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MatmulProblem {
    /// Tokens.
    pub m: usize,
    /// Outputs.
    pub n: usize,
    /// Inputs.
    pub k: usize,
    /// Code table of the weights.
    pub code: WeightCode,
    /// Scale granularity of the weights.
    pub scale: ScaleKind,
    /// Type of the activations.
    pub activations: ActivationType,
    /// Order of the weights, where they are prepacked.
    pub fragments: Option<FragmentOrder>,
    /// Rows of the activations start at multiples of 16 bytes.
    pub whole_lines: bool,
}

/// Type of the activations of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActivationType {
    /// int8 with a scale per token.
    Int8,
    /// Floats.
    Float(FloatType),
}

impl From<FloatType> for ActivationType {
    fn from(dtype: FloatType) -> Self {
        Self::Float(dtype)
    }
}

impl MatmulProblem {
    /// `m` tokens, whose rows start at multiples of 16 bytes, against weights of `layout`.
    pub fn new(
        m: usize,
        layout: &PackedLayout,
        activations: ActivationType,
        fragments: Option<FragmentOrder>,
    ) -> Self {
        Self {
            m,
            n: layout.out_features(),
            k: layout.in_features(),
            code: layout.code(),
            scale: layout.scale().into(),
            activations,
            fragments,
            whole_lines: true,
        }
    }

    /// Whether float activations meet weights prepacked for int8 ones: they are quantised on the way.
    pub(super) fn quantizes(&self) -> bool {
        let floats = matches!(self.activations, ActivationType::Float(_));
        floats && self.fragments == Some(FragmentOrder::Int8)
    }

    /// The product that is left once the activations are int8.
    pub(super) fn quantized(&self) -> Self {
        Self {
            activations: ActivationType::Int8,
            whole_lines: true,
            ..*self
        }
    }
}

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
