//! The number types of tensor-core products.

use cubecl::ir::{ElemType, FloatKind, IntKind};

use crate::operand::FloatType;

/// The element type of a tensor-core product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MmaType {
    /// int8, summed in i32.
    Int8,
    /// bf16, summed in f32.
    Bf16,
    /// f16, summed in f32.
    F16,
}

impl MmaType {
    /// Bytes of an element.
    pub const fn size(self) -> usize {
        match self {
            Self::Int8 => 1,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    /// The type in which activations of `dtype` are multiplied.
    pub const fn of(dtype: FloatType) -> Self {
        match dtype {
            FloatType::F16 => Self::F16,
            FloatType::BF16 | FloatType::F32 => Self::Bf16,
        }
    }

    /// Type of the sums.
    pub const fn accumulator(self) -> ElemType {
        match self {
            Self::Int8 => ElemType::Int(IntKind::I32),
            Self::Bf16 | Self::F16 => ElemType::Float(FloatKind::F32),
        }
    }

    /// The type suffixes of the `mma` instruction: accumulator, left, right, accumulator.
    pub(super) fn mma_types(self) -> &'static str {
        match self {
            Self::Int8 => "m16n8k32.row.col.s32.s8.s8.s32",
            Self::Bf16 => "m16n8k16.row.col.f32.bf16.bf16.f32",
            Self::F16 => "m16n8k16.row.col.f32.f16.f16.f32",
        }
    }
}
