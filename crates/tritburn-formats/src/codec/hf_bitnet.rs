//! Weights of Hugging Face transformers' `bitnet` integration: u8 `[R, in]` with `R = ceil(out / 4)`,
//! `code = w + 1`, weight `[n, k]` at bit `2·(n / R)` of byte `[n % R, k]`
//! (transformers 5.23, `integrations/bitnet.py`). Code 3 is invalid.
//!
//! Where `out` is no multiple of 4, the fields of the missing rows hold code 0 and are not looked
//! at when reading. The scale is a tensor of its own, `weight_scale`, one value, whose direction
//! depends on the configuration: see [`ScaleDirection::from_config`].
//!
//! ```
//! use tritburn_formats::codec::{Rounding, ScaleDirection, hf_bitnet};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Four rows of two columns in two bytes: -1 0 | 0 +1 | +1 -1 | -1 -1.
//! let bytes = [0b00_10_01_00, 0b00_00_10_01];
//! let direction = ScaleDirection::from_config(Some("autobitlinear"), None)?.expect("packed");
//! let matrix = hf_bitnet::decode(&bytes, 4, 2, direction.to_gamma(0.5)?)?;
//! assert_eq!(matrix.dequantize(), [-0.5, 0.0, 0.0, 0.5, 0.5, -0.5, -0.5, -0.5]);
//!
//! let encoded = hf_bitnet::encode(&matrix)?;
//! assert_eq!(encoded.data, bytes);
//! assert_eq!(direction.to_bf16(encoded.gamma, Rounding::Exact)?.to_f32(), 0.5);
//! # Ok(())
//! # }
//! ```
//!
//! [`ScaleDirection::from_config`]: super::ScaleDirection::from_config

use super::{CodecError, Encoded, byte_rows, check};
use crate::matrix::PackedMatrix;
use crate::scale::ScaleGranularity;

const FORMAT: &str = "HF bitnet";

/// Reads `[ceil(out / 4), in]` bytes; the matrix has one scale, `gamma`.
///
/// # Errors
/// [`CodecError::Layout`], [`CodecError::Length`], [`CodecError::InvalidCode`] for the first code
/// 3, [`CodecError::BadScale`].
pub fn decode(
    bytes: &[u8],
    out_features: usize,
    in_features: usize,
    gamma: f32,
) -> Result<PackedMatrix, CodecError> {
    let layout = check::layout(out_features, in_features, ScaleGranularity::Tensor)?;
    let byte_rows = out_features.div_ceil(4);
    check::length(FORMAT, "bytes", bytes.len(), byte_rows, in_features)?;
    let words = byte_rows::decode(bytes, &layout, |n| (n % byte_rows, (n / byte_rows) as u32));
    check::matrix(FORMAT, layout, words, vec![gamma], 3)
}

/// Bytes `[ceil(out / 4), in]` and γ of a ternary matrix whose scales are all the same.
///
/// # Errors
/// [`CodecError::CodeTable`], [`CodecError::ScalesDiffer`], [`CodecError::BadScale`].
pub fn encode(matrix: &PackedMatrix) -> Result<Encoded<u8>, CodecError> {
    check::ternary(FORMAT, matrix)?;
    let gamma = check::one_scale(FORMAT, matrix)?;
    let byte_rows = matrix.layout().out_features().div_ceil(4);
    let data = byte_rows::encode(matrix, byte_rows, |r| {
        [0, 1, 2, 3].map(|f| f * byte_rows + r)
    });
    Ok(Encoded { data, gamma })
}
