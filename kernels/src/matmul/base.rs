//! Which kernel multiplies: the selector in front of `gemm` and `gemv`.

use tritburn_formats::{PackedLayout, WeightCode};

use crate::decode::ScaleKind;
use crate::device::DeviceFacts;
use crate::gemm::portable::GemmBlueprint;
use crate::gemv::portable::GemvBlueprint;

/// The facts of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Activations are int8.
    pub integer: bool,
}

impl MatmulProblem {
    /// `m` tokens against weights of `layout`.
    pub fn new(m: usize, layout: &PackedLayout, integer: bool) -> Self {
        Self {
            m,
            n: layout.out_features(),
            k: layout.in_features(),
            code: layout.code(),
            scale: layout.scale().into(),
            integer,
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
}

impl Strategy {
    /// Resolves the strategy for `problem` on `device`.
    pub fn plan(&self, problem: &MatmulProblem, device: &DeviceFacts) -> Plan {
        match self {
            Self::Forced(plan) => *plan,
            Self::Auto if device.lockstep && problem.m <= GemvBlueprint::MAX_TOKENS => {
                Plan::Gemv(GemvBlueprint::new(problem, device))
            }
            Self::Auto => Plan::Gemm(GemmBlueprint::new(problem, device)),
        }
    }
}
