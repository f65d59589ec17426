//! Scales and zero points in the type that they are stored in.

use std::fmt;

use half::{bf16, f16};
use serde::{Deserialize, Serialize};

/// Type of stored scales and zero points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FloatType {
    /// 32-bit float.
    F32,
    /// IEEE half precision.
    #[default]
    F16,
    /// bfloat16.
    Bf16,
}

impl FloatType {
    /// `value` rounded to the type, half to even.
    pub fn round(self, value: f32) -> f32 {
        match self {
            Self::F32 => value,
            Self::F16 => f16::from_f32(value).to_f32(),
            Self::Bf16 => bf16::from_f32(value).to_f32(),
        }
    }

    /// Smallest positive value of the type, a subnormal.
    pub fn smallest(self) -> f32 {
        match self {
            Self::F32 => f32::from_bits(1),
            Self::F16 => f16::from_bits(1).to_f32(),
            Self::Bf16 => bf16::from_bits(1).to_f32(),
        }
    }

    /// Bytes of a value.
    pub const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

impl fmt::Display for FloatType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}

/// Floats of one type.
#[derive(Clone, Debug, PartialEq)]
pub enum Floats {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// IEEE half precision.
    F16(Vec<f16>),
    /// bfloat16.
    Bf16(Vec<bf16>),
}

impl Floats {
    /// `values` rounded to a type, half to even.
    pub fn from_f32(values: &[f32], float_type: FloatType) -> Self {
        match float_type {
            FloatType::F32 => Self::F32(values.to_vec()),
            FloatType::F16 => Self::F16(values.iter().map(|&v| f16::from_f32(v)).collect()),
            FloatType::Bf16 => Self::Bf16(values.iter().map(|&v| bf16::from_f32(v)).collect()),
        }
    }

    /// The values in f32, which holds all of them exactly.
    pub fn to_f32(&self) -> Vec<f32> {
        match self {
            Self::F32(values) => values.clone(),
            Self::F16(values) => values.iter().map(|v| v.to_f32()).collect(),
            Self::Bf16(values) => values.iter().map(|v| v.to_f32()).collect(),
        }
    }

    /// Type of the values.
    pub fn float_type(&self) -> FloatType {
        match self {
            Self::F32(_) => FloatType::F32,
            Self::F16(_) => FloatType::F16,
            Self::Bf16(_) => FloatType::Bf16,
        }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Value `index` in f32; `None` behind the end.
    #[inline(always)]
    pub fn get(&self, index: usize) -> Option<f32> {
        match self {
            Self::F32(values) => values.get(index).copied(),
            Self::F16(values) => values.get(index).map(|v| v.to_f32()),
            Self::Bf16(values) => values.get(index).map(|v| v.to_f32()),
        }
    }

    /// The values of several floats of one type, one behind the other; values of another type are
    /// rounded.
    pub(crate) fn concat<'a>(parts: impl Iterator<Item = &'a Self>, float_type: FloatType) -> Self {
        let values: Vec<f32> = parts.flat_map(Self::to_f32).collect();
        Self::from_f32(&values, float_type)
    }

    /// The values in another order: value `i` is value `from(i)` of these.
    ///
    /// `from` stays below [`len`](Self::len).
    pub(crate) fn gather(&self, from: impl Fn(usize) -> usize) -> Self {
        fn gather<T: Copy>(values: &[T], from: impl Fn(usize) -> usize) -> Vec<T> {
            (0..values.len()).map(|i| values[from(i)]).collect()
        }
        match self {
            Self::F32(values) => Self::F32(gather(values, from)),
            Self::F16(values) => Self::F16(gather(values, from)),
            Self::Bf16(values) => Self::Bf16(gather(values, from)),
        }
    }
}
