//! The type in which tensor cores multiply activations.

use crate::device_code::MmaType;
use crate::operand::FloatType;
use crate::product::ActivationType;

/// The form in which tensor cores multiply activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MmaInput {
    /// Type of both operands.
    pub types: MmaType,
    /// Terms per activation: 3 for f32, which is split into an exact sum of three bf16, else 1.
    pub terms: usize,
}

impl MmaInput {
    pub(super) const INT8: Self = Self {
        types: MmaType::Int8,
        terms: 1,
    };

    /// The form for `activations`.
    pub(crate) const fn of(activations: ActivationType) -> Self {
        match activations {
            ActivationType::Int8 | ActivationType::Quantized(_) => Self::INT8,
            ActivationType::Float(FloatType::F32) => Self {
                types: MmaType::Bf16,
                terms: 3,
            },
            ActivationType::Float(dtype) => Self {
                types: MmaType::of(dtype),
                terms: 1,
            },
        }
    }
}
