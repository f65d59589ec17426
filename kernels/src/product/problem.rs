//! The facts of a product.

use tritburn_formats::{PackedLayout, WeightCode};

use crate::device_code::decode::ScaleKind;
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
