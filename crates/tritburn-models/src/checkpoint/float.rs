//! Float tensors as bytes.

use std::fmt;

use half::{bf16, f16};
use rayon::prelude::*;
use tritburn_formats::file::DType;
use tritburn_formats::quantize::{pack_weights, recognize_ternary};
use tritburn_formats::{MatrixError, PackedLayout, PackedMatrix, ScaleGranularity, WeightCode};

/// The float types of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FloatType {
    /// 32-bit float.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    BF16,
}

impl FloatType {
    /// Bytes of a value.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    /// The type as files have it.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::BF16 => DType::BF16,
        }
    }

    /// The type as Burn has it.
    pub fn burn(self) -> burn::tensor::DType {
        match self {
            Self::F32 => burn::tensor::DType::F32,
            Self::F16 => burn::tensor::DType::F16,
            Self::BF16 => burn::tensor::DType::BF16,
        }
    }

    /// The type of a file's tensor, if it is one of these.
    pub fn from_dtype(dtype: DType) -> Option<Self> {
        match dtype {
            DType::F32 => Some(Self::F32),
            DType::F16 => Some(Self::F16),
            DType::BF16 => Some(Self::BF16),
            _ => None,
        }
    }

    /// The name that torch has for it.
    pub fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::BF16 => "bfloat16",
        }
    }
}

impl fmt::Display for FloatType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
        })
    }
}

/// A float tensor, row-major, values little-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FloatTensorData {
    /// Type of the values.
    pub dtype: FloatType,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// As many values as the shape has.
    pub bytes: Vec<u8>,
}

impl FloatTensorData {
    /// The values, exactly.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.bytes.len() / self.dtype.size()];
        widen(self.dtype, &self.bytes, &mut out);
        out
    }

    /// `values` of a type, rounded to the nearest, half to even.
    pub fn from_f32(dtype: FloatType, shape: Vec<usize>, values: &[f32]) -> Self {
        let mut bytes = vec![0; values.len() * dtype.size()];
        narrow(dtype, values, &mut bytes);
        Self {
            dtype,
            shape,
            bytes,
        }
    }

    /// The tensor in another type, and how many of its values became other numbers by that. (NaN
    /// stays NaN.)
    pub fn convert(self, dtype: FloatType) -> (Self, u64) {
        if dtype == self.dtype {
            return (self, 0);
        }
        let mut bytes = vec![0; self.bytes.len() / self.dtype.size() * dtype.size()];
        let lost = bytes
            .par_chunks_mut(CHUNK * dtype.size())
            .zip(self.bytes.par_chunks(CHUNK * self.dtype.size()))
            .map(|(new, old)| {
                let mut values = [[0.0; CHUNK]; 2];
                let [before, after] = &mut values;
                let (before, after) = (
                    &mut before[..old.len() / self.dtype.size()],
                    &mut after[..old.len() / self.dtype.size()],
                );
                widen_chunk(self.dtype, old, before);
                narrow_chunk(dtype, before, new);
                widen_chunk(dtype, new, after);
                let changed = before.iter().zip(after.iter());
                changed.filter(|(b, a)| b != a && !b.is_nan()).count() as u64
            })
            .sum();
        let converted = Self {
            dtype,
            shape: self.shape,
            bytes,
        };
        (converted, lost)
    }

    /// The rows of a matrix in another order: row `i` of the result is row `order[i]`.
    ///
    /// # Panics
    /// If `order` names a row that is not there.
    pub(crate) fn with_rows(&self, order: &[usize]) -> Self {
        let width = self.shape.iter().skip(1).product::<usize>() * self.dtype.size();
        let rows = order.iter().map(|&row| &self.bytes[row * width..][..width]);
        Self {
            dtype: self.dtype,
            shape: self.shape.clone(),
            bytes: rows.collect::<Vec<_>>().concat(),
        }
    }

    /// Codes and scales of weights that are -γ, 0 or γ already, the same numbers exactly; `None` for
    /// others. Such weights must not be quantised again: their absolute mean is not γ.
    pub fn ternary(&self) -> Option<PackedMatrix> {
        let &[out_features, in_features] = self.shape.as_slice() else {
            return None;
        };
        recognize_ternary(&self.to_f32(), out_features, in_features)
    }

    /// Quantised to ternary codes with one γ (absmean).
    ///
    /// # Errors
    /// [`MatrixError`] unless it has rows and columns of finite numbers.
    pub fn pack(&self) -> Result<PackedMatrix, MatrixError> {
        let &[out_features, in_features] = self.shape.as_slice() else {
            return Err(MatrixError::Length {
                what: "axes of a weight",
                found: self.shape.len(),
                expected: 2,
            });
        };
        let (code, scale) = (WeightCode::Ternary, ScaleGranularity::Tensor);
        let layout = PackedLayout::new(out_features, in_features, code, scale)?;
        pack_weights(&self.to_f32(), &layout)
    }
}

/// Values of one task.
const CHUNK: usize = 1 << 12;

fn widen(dtype: FloatType, bytes: &[u8], out: &mut [f32]) {
    out.par_chunks_mut(CHUNK)
        .zip(bytes.par_chunks(CHUNK * dtype.size()))
        .for_each(|(out, bytes)| widen_chunk(dtype, bytes, out));
}

fn narrow(dtype: FloatType, values: &[f32], out: &mut [u8]) {
    out.par_chunks_mut(CHUNK * dtype.size())
        .zip(values.par_chunks(CHUNK))
        .for_each(|(out, values)| narrow_chunk(dtype, values, out));
}

fn widen_chunk(dtype: FloatType, bytes: &[u8], out: &mut [f32]) {
    let pairs = bytes.as_chunks::<2>().0;
    match dtype {
        FloatType::F32 => {
            for (out, &b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *out = f32::from_le_bytes(b);
            }
        }
        FloatType::F16 => {
            for (out, &b) in out.iter_mut().zip(pairs) {
                *out = f16::from_le_bytes(b).to_f32();
            }
        }
        FloatType::BF16 => {
            for (out, &b) in out.iter_mut().zip(pairs) {
                *out = bf16::from_le_bytes(b).to_f32();
            }
        }
    }
}

fn narrow_chunk(dtype: FloatType, values: &[f32], out: &mut [u8]) {
    match dtype {
        FloatType::F32 => {
            for (out, v) in out.as_chunks_mut::<4>().0.iter_mut().zip(values) {
                *out = v.to_le_bytes();
            }
        }
        FloatType::F16 => {
            for (out, &v) in out.as_chunks_mut::<2>().0.iter_mut().zip(values) {
                *out = f16::from_f32(v).to_le_bytes();
            }
        }
        FloatType::BF16 => {
            for (out, &v) in out.as_chunks_mut::<2>().0.iter_mut().zip(values) {
                *out = bf16::from_f32(v).to_le_bytes();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_count_the_values_that_change() {
        // A small bf16 below f16's finest step, one above its range, and some that fit.
        let values = [1.0, -0.5, 1e-8, 1e6, 0.0, f32::NAN, f32::INFINITY];
        let data = FloatTensorData::from_f32(FloatType::F32, vec![7], &values);
        let (half, lost) = data.clone().convert(FloatType::F16);
        assert_eq!(lost, 2);
        assert_eq!(half.to_f32()[..5], [1.0, -0.5, 0.0, f32::INFINITY, 0.0]);
        assert!(half.to_f32()[5].is_nan());
        let (brain, lost) = data.clone().convert(FloatType::BF16);
        assert_eq!(lost, 2, "1e-8 and 1e6 have more than 8 bits");
        let (_, lost) = brain.convert(FloatType::F32);
        assert_eq!(lost, 0);
        assert_eq!(data.clone().convert(FloatType::F32), (data, 0));
    }

    #[test]
    fn long_tensors_are_converted_whole() {
        let values: Vec<f32> = (0..3 * CHUNK + 5).map(|i| i as f32).collect();
        let data = FloatTensorData::from_f32(FloatType::F32, vec![values.len()], &values);
        assert_eq!(data.to_f32(), values);
        let (brain, lost) = data.convert(FloatType::BF16);
        let exact = values.iter().filter(|&&v| bf16::from_f32(v).to_f32() == v);
        assert_eq!(lost as usize, values.len() - exact.count());
        assert_eq!(brain.bytes.len(), 2 * values.len());
    }
}
