//! Element types of stored tensors.

use std::fmt;

use super::gguf::GgmlType;

/// Type of a tensor's elements, or of its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// 64-bit float.
    F64,
    /// 32-bit float.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    BF16,
    /// 8-bit float, 4 exponent bits.
    F8E4M3,
    /// 8-bit float, 5 exponent bits.
    F8E5M2,
    /// Signed 64-bit integer.
    I64,
    /// Signed 32-bit integer.
    I32,
    /// Signed 16-bit integer.
    I16,
    /// Signed byte.
    I8,
    /// Unsigned 64-bit integer.
    U64,
    /// Unsigned 32-bit integer.
    U32,
    /// Unsigned 16-bit integer.
    U16,
    /// Unsigned byte.
    U8,
    /// One byte, 0 or 1.
    Bool,
    /// A block type of GGUF. Types that GGUF shares with the other files are the variants above.
    Ggml(GgmlType),
}

impl DType {
    /// Bytes of one element; `None` for block types.
    pub fn size(self) -> Option<usize> {
        Some(match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => 2,
            Self::F8E4M3 | Self::F8E5M2 | Self::I8 | Self::U8 | Self::Bool => 1,
            Self::Ggml(_) => return None,
        })
    }

    /// Bytes of a tensor of `shape`. `None` where they are not known ([`GgmlType`]), are not whole
    /// blocks, or do not fit a `usize`.
    pub fn byte_len(self, shape: &[usize]) -> Option<usize> {
        match self {
            Self::Ggml(kind) => kind.byte_len(shape),
            plain => element_count(shape)?.checked_mul(plain.size()?),
        }
    }

    /// The name that safetensors files use; `None` for block types.
    pub fn safetensors_name(self) -> Option<&'static str> {
        NAMES
            .iter()
            .find(|entry| entry.1 == self)
            .map(|entry| entry.0)
    }

    /// The type that safetensors files call `name`.
    pub fn from_safetensors_name(name: &str) -> Option<Self> {
        NAMES
            .iter()
            .find(|entry| entry.0 == name)
            .map(|entry| entry.1)
    }
}

const NAMES: [(&str, DType); 15] = [
    ("F64", DType::F64),
    ("F32", DType::F32),
    ("F16", DType::F16),
    ("BF16", DType::BF16),
    ("F8_E4M3", DType::F8E4M3),
    ("F8_E5M2", DType::F8E5M2),
    ("I64", DType::I64),
    ("I32", DType::I32),
    ("I16", DType::I16),
    ("I8", DType::I8),
    ("U64", DType::U64),
    ("U32", DType::U32),
    ("U16", DType::U16),
    ("U8", DType::U8),
    ("BOOL", DType::Bool),
];

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ggml(kind) => kind.fmt(f),
            plain => f.write_str(plain.safetensors_name().unwrap_or("?")),
        }
    }
}

/// Elements of `shape`, a scalar having one. An extent of 0 makes 0, whatever the others are.
pub(crate) fn element_count(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape
        .iter()
        .try_fold(1usize, |n, &extent| n.checked_mul(extent))
}
