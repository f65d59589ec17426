//! How activations reach the tensor cores.

use crate::device_code::MmaType;
use crate::operand::FloatType;
use crate::product::ActivationType;

/// How activations reach the tensor cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operand {
    /// What is multiplied.
    pub types: MmaType,
    /// Summands of an activation: 3 for f32, which three bf16 hold exactly.
    pub terms: usize,
}

impl Operand {
    pub(super) const INT8: Self = Self {
        types: MmaType::Int8,
        terms: 1,
    };

    /// How `activations` reach the tensor cores.
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
