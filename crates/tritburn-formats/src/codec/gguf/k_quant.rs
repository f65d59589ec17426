//! Matrices in the K types of ggml, kept in their blocks: [`KQuantMatrix`].
//!
//! A block is 256 values of a row: codes of 4, 5 or 6 bits, scales of groups in 6 or 8 bits, and f16 factors of
//! those ([`blocks`]). A row is whole blocks. GGUF files have only such rows; here a row of another length ends
//! in values that nobody reads.

use std::fmt;

use rayon::prelude::*;

use super::blocks;
use crate::codec::{CodecError, check};
use crate::error::MatrixError;
use crate::file::gguf::GgmlType;

/// Values of a block.
const BLOCK: usize = 256;

/// The K types that matrices are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KQuant {
    /// 4-bit codes, a scale and a minimum per 32 values: 4.5 bits a value.
    Q4K,
    /// 5-bit codes, a scale and a minimum per 32 values: 5.5 bits a value.
    Q5K,
    /// 6-bit codes, a scale per 16 values: 6.5625 bits a value.
    Q6K,
}

impl KQuant {
    /// All of them, the smallest first.
    pub const ALL: [Self; 3] = [Self::Q4K, Self::Q5K, Self::Q6K];

    /// The type as GGUF files have it.
    pub fn ggml(self) -> GgmlType {
        match self {
            Self::Q4K => GgmlType::Q4K,
            Self::Q5K => GgmlType::Q5K,
            Self::Q6K => GgmlType::Q6K,
        }
    }

    /// The type of a file's tensor, if it is one of these.
    pub fn from_ggml(kind: GgmlType) -> Option<Self> {
        Self::ALL.into_iter().find(|own| own.ggml() == kind)
    }

    /// Bytes of a block of 256 values.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    /// Bytes of a row of `columns` values.
    pub fn row_bytes(self, columns: usize) -> usize {
        columns.div_ceil(BLOCK) * self.block_bytes()
    }

    /// Rows of `columns` values as blocks, with scales that make squared errors small; behind the end of a
    /// row that is not whole blocks stand zeros.
    ///
    /// # Errors
    /// [`CodecError::Pack`] with [`MatrixError::Length`] unless `values` are whole rows, with
    /// [`MatrixError::NonFinite`] for a value that is NaN or infinite, with [`MatrixError::ScaleOverflow`]
    /// for values whose scale f16 cannot hold: above some 10⁸.
    pub fn quantize_rows(self, values: &[f32], columns: usize) -> Result<Vec<u8>, CodecError> {
        let rows = values.len().checked_div(columns).unwrap_or(0);
        if columns == 0 || rows * columns != values.len() {
            let (what, found, expected) = ("values of rows", values.len(), rows * columns);
            return Err(CodecError::Pack(MatrixError::Length {
                what,
                found,
                expected,
            }));
        }
        let finite = values.par_iter().with_min_len(1 << 14);
        if let Some(at) = finite.position_first(|value| !value.is_finite()) {
            return Err(CodecError::Pack(MatrixError::NonFinite {
                row: at / columns,
                col: at % columns,
                value: values[at],
            }));
        }
        let bytes = match columns % BLOCK {
            0 => blocks::quantize(self, values),
            _ => {
                let stride = columns.next_multiple_of(BLOCK);
                let mut padded = vec![0.0; rows * stride];
                for (to, from) in padded.chunks_mut(stride).zip(values.chunks(columns)) {
                    to[..columns].copy_from_slice(from);
                }
                blocks::quantize(self, &padded)
            }
        };
        match self.infinite_factor(&bytes) {
            None => Ok(bytes),
            Some(index) => Err(CodecError::Pack(MatrixError::ScaleOverflow { index })),
        }
    }

    /// The first block with a factor that is not finite.
    fn infinite_factor(self, bytes: &[u8]) -> Option<usize> {
        let infinite = |block: &[u8], at: usize| block[at + 1] & 0x7c == 0x7c;
        let blocks = bytes.par_chunks(self.block_bytes()).with_min_len(1 << 10);
        blocks.position_first(|block| match self {
            Self::Q4K | Self::Q5K => infinite(block, 0) || infinite(block, 2),
            Self::Q6K => infinite(block, 208),
        })
    }
}

impl fmt::Display for KQuant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.ggml().name())
    }
}

/// A matrix of K-quantised rows, as a GGUF file stores it.
///
/// # Examples
///
/// ```
/// use tritburn_formats::codec::gguf::k_quant::{KQuant, KQuantMatrix};
///
/// let values: Vec<f32> = (0..2 * 256).map(|i| (i as f32).sin()).collect();
/// let matrix = KQuantMatrix::quantize(KQuant::Q6K, [2, 256], &values)?;
/// assert_eq!(matrix.bytes().len(), 2 * 210);
/// for (value, stored) in values.iter().zip(matrix.dequantize()) {
///     assert!((value - stored).abs() < 0.04);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KQuantMatrix {
    kind: KQuant,
    shape: [usize; 2],
    bytes: Vec<u8>,
}

impl KQuantMatrix {
    /// A matrix `[rows, columns]` of stored blocks, row after row.
    ///
    /// # Errors
    /// [`CodecError::Length`] for another number of bytes.
    pub fn new(kind: KQuant, shape: [usize; 2], bytes: Vec<u8>) -> Result<Self, CodecError> {
        let row = kind.row_bytes(shape[1]);
        check::length(kind.ggml().name(), "bytes", bytes.len(), shape[0], row)?;
        Ok(Self { kind, shape, bytes })
    }

    /// A matrix near row-major `values` `[rows, columns]`.
    ///
    /// # Errors
    /// Those of [`KQuant::quantize_rows`], and [`CodecError::Length`] for another number of values.
    pub fn quantize(kind: KQuant, shape: [usize; 2], values: &[f32]) -> Result<Self, CodecError> {
        check::length(
            kind.ggml().name(),
            "values",
            values.len(),
            shape[0],
            shape[1],
        )?;
        Self::new(kind, shape, kind.quantize_rows(values, shape[1])?)
    }

    /// Type of the blocks.
    pub fn kind(&self) -> KQuant {
        self.kind
    }

    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// The blocks.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The blocks, without the shape.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// All values, row-major, the same f32 as ggml's.
    pub fn dequantize(&self) -> Vec<f32> {
        let [rows, columns] = self.shape;
        let mut values = vec![0.0; rows * columns];
        if !values.is_empty() {
            let stored = self.bytes.par_chunks(self.kind.row_bytes(columns));
            let rows = values.par_chunks_mut(columns).zip(stored);
            rows.for_each(|(values, bytes)| dequantize_row(self.kind, bytes, values));
        }
        values
    }
}

/// The first `values.len()` values of the blocks of one row.
///
/// # Panics
/// If the row has fewer bytes than [`KQuant::row_bytes`] says.
pub fn dequantize_row(kind: KQuant, bytes: &[u8], values: &mut [f32]) {
    let mut block = [0.0; BLOCK];
    for (bytes, values) in bytes
        .chunks(kind.block_bytes())
        .zip(values.chunks_mut(BLOCK))
    {
        blocks::dequantize_block(kind, bytes, &mut block);
        values.copy_from_slice(&block[..values.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fixed sequence that looks random and bell-shaped, of variance 1/3.
    fn values(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut uniform = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..count)
            .map(|_| uniform() + uniform() + uniform() + uniform())
            .collect()
    }

    fn relative_error(values: &[f32], stored: &[f32]) -> f64 {
        let pairs = values.iter().zip(stored);
        let error: f64 = pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum();
        (error / values.iter().map(|&a| f64::from(a).powi(2)).sum::<f64>()).sqrt()
    }

    #[test]
    fn errors_are_those_of_the_bits() {
        let values = values(64 * 512, 1);
        for (kind, bounds) in [
            (KQuant::Q4K, 0.055..0.075),
            (KQuant::Q5K, 0.025..0.037),
            (KQuant::Q6K, 0.012..0.019),
        ] {
            let matrix = KQuantMatrix::quantize(kind, [64, 512], &values).unwrap();
            let error = relative_error(&values, &matrix.dequantize());
            assert!(bounds.contains(&error), "{kind}: {error}");
        }
    }

    #[test]
    fn what_was_stored_is_stored_again_with_little_change() {
        for kind in KQuant::ALL {
            let values = values(8 * 256, 2);
            let once = KQuantMatrix::quantize(kind, [8, 256], &values)
                .unwrap()
                .dequantize();
            let twice = KQuantMatrix::quantize(kind, [8, 256], &once)
                .unwrap()
                .dequantize();
            assert!(relative_error(&once, &twice) < 0.005, "{kind}");
        }
    }

    #[test]
    fn rows_need_not_be_whole_blocks() {
        let values = values(5 * 300, 3);
        for kind in KQuant::ALL {
            let matrix = KQuantMatrix::quantize(kind, [5, 300], &values).unwrap();
            assert_eq!(matrix.bytes().len(), 5 * 2 * kind.block_bytes());
            let stored = matrix.dequantize();
            assert_eq!(stored.len(), values.len());
            assert!(relative_error(&values, &stored) < 0.075, "{kind}");
            // A row does not depend on others.
            let last = KQuantMatrix::quantize(kind, [1, 300], &values[4 * 300..]).unwrap();
            assert_eq!(last.dequantize(), stored[4 * 300..]);
        }
    }

    #[test]
    fn zeros_and_tiny_values_are_stored() {
        for kind in KQuant::ALL {
            let matrix = KQuantMatrix::quantize(kind, [1, 256], &[0.0; 256]).unwrap();
            assert_eq!(matrix.dequantize(), [0.0; 256]);
            // Below what f16 factors reach.
            let matrix = KQuantMatrix::quantize(kind, [1, 256], &[1e-12; 256]).unwrap();
            assert_eq!(matrix.dequantize(), [0.0; 256]);
        }
    }

    #[test]
    fn what_cannot_be_stored_is_refused() {
        let mut values = vec![0.5; 2 * 256];
        values[256 + 3] = f32::NAN;
        let refused = |values: &[f32]| KQuant::Q6K.quantize_rows(values, 256).unwrap_err();
        assert!(matches!(
            refused(&values),
            CodecError::Pack(MatrixError::NonFinite { row: 1, col: 3, .. })
        ));
        values[256 + 3] = -1e12;
        assert_eq!(
            refused(&values),
            CodecError::Pack(MatrixError::ScaleOverflow { index: 1 })
        );
        for kind in [KQuant::Q4K, KQuant::Q5K] {
            let error = kind.quantize_rows(&values, 256).unwrap_err();
            assert_eq!(
                error,
                CodecError::Pack(MatrixError::ScaleOverflow { index: 1 })
            );
        }
        assert!(KQuant::Q6K.quantize_rows(&values[1..], 256).is_err());
        assert!(KQuant::Q6K.quantize_rows(&[], 0).is_err());
        assert!(KQuantMatrix::new(KQuant::Q4K, [3, 256], vec![0; 144 * 2]).is_err());
    }

    #[test]
    fn types_are_found_again() {
        for kind in KQuant::ALL {
            assert_eq!(KQuant::from_ggml(kind.ggml()), Some(kind));
            assert_eq!(kind.ggml().block(), Some((256, kind.block_bytes())));
        }
        assert_eq!(KQuant::from_ggml(GgmlType::Q8_0), None);
    }
}
