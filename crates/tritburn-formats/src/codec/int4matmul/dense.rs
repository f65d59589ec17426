//! All codes, one after the other.

use half::f16;

use super::matrix::check_shape;
use super::{Bits, FORMAT, IntMatrix};
use crate::affine::UNIT;
use crate::codec::{CodecError, bit_columns, check};

/// Reads words `[in · bits / 32, out]`, and scales and zeros `[groups, out]`. With b bits, code `j`
/// of every 32 inputs is bits `b·j..` of a string over b words of the same column.
///
/// # Errors
/// As [`IntMatrix::new`].
pub fn decode(
    words: &[u32],
    [out_features, in_features]: [usize; 2],
    bits: Bits,
    group_size: Option<usize>,
    scales: Vec<f16>,
    zeros: Vec<f16>,
) -> Result<IntMatrix, CodecError> {
    check_shape(out_features, in_features, group_size)?;
    let stored_rows = in_features / UNIT * bits.count();
    check::length(FORMAT, "words", words.len(), stored_rows, out_features)?;
    let codes = bit_columns::unpack(bits, words, out_features, in_features);
    let shape = [out_features, in_features];
    IntMatrix::new(shape, bits, group_size, codes, scales, zeros)
}

/// Words `[in · bits / 32, out]` of the codes; scales and zeros are stored as they are.
pub fn encode(matrix: &IntMatrix) -> Vec<u32> {
    let (n, k) = (matrix.out_features(), matrix.in_features());
    bit_columns::pack(matrix.bits(), matrix.codes(), n, k)
}
