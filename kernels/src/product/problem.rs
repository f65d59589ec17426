//! The facts of a product that a plan depends on.

use tritburn_formats::{PackedLayout, WeightCode};

use crate::device_code::decode::ScaleKind;
use crate::operand::FloatType;
use crate::prepack::WeightOrder;

/// The facts of a product that a plan depends on.
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
    /// Order of the weights.
    pub order: WeightOrder,
    /// Whether the rows of the activations start at multiples of 16 bytes.
    pub whole_lines: bool,
}

/// Type of the activations of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActivationType {
    /// int8 with a scale per token.
    Int8,
    /// Floats.
    Float(FloatType),
    /// Floats that are quantised to int8 per token, before the product or in its kernel.
    Quantized(FloatType),
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
        order: WeightOrder,
    ) -> Self {
        Self {
            m,
            n: layout.out_features(),
            k: layout.in_features(),
            code: layout.code(),
            scale: layout.scale().into(),
            activations,
            order,
            whole_lines: true,
        }
    }

    /// The product that remains once the activations are quantised.
    pub(super) fn after_quantizer(&self) -> Self {
        Self {
            activations: ActivationType::Int8,
            whole_lines: true,
            ..*self
        }
    }
}

/// A product of ternary weights, as they are stored, with int8 activations: for tests of plans.
#[cfg(test)]
pub(crate) const fn problem(m: usize, n: usize, k: usize) -> MatmulProblem {
    MatmulProblem {
        m,
        n,
        k,
        code: WeightCode::Ternary,
        scale: ScaleKind::Row,
        activations: ActivationType::Int8,
        order: WeightOrder::Canonical,
        whole_lines: true,
    }
}
