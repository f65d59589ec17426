//! How activations reach the tensor cores.

use crate::device_code::MmaType;
use crate::operand::FloatType;
use crate::product::Input;

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

    /// How `x` reaches the tensor cores.
    pub(crate) fn of(x: &Input<'_>) -> Self {
        match x {
            Input::Int8(_) => Self::INT8,
            Input::Float(x) => Self {
                types: MmaType::of(x.dtype()),
                terms: if x.dtype() == FloatType::F32 { 3 } else { 1 },
            },
        }
    }
}
