//! Ternary weights of warp-bitnet (commit `71b8dd9`): words `[out, in / 16]`, 16 consecutive
//! columns a word, column `k` at bit `2·(k % 16)`; 0 is `00`, +1 is `01`, -1 is `10`. `in` is a
//! multiple of 16.
//!
//! No scale is stored with the weights, so γ comes from the caller. `11` is refused, though the
//! kernel reads it as 0: nothing writes it.
//!
//! [`decode_legacy`] reads what an older script of the project (`packer.py`) writes: the same
//! codes in 4-bit fields, words `[out, in / 8]`. The project's own kernel cannot read that, and
//! nothing but the caller's word tells the two apart.
//!
//! # Examples
//!
//! ```
//! use tritburn_formats::codec::warp_bitnet;
//! use tritburn_formats::quantize::pack_weights;
//! use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};
//!
//! // A row that begins with +1, -1.
//! let mut weights = [0.0; 16];
//! (weights[0], weights[1]) = (1.0, -1.0);
//! let layout = PackedLayout::new(1, 16, WeightCode::Ternary, ScaleGranularity::Tensor)?;
//! let matrix = pack_weights(&weights, &layout)?;
//!
//! let encoded = warp_bitnet::encode(&matrix)?;
//! assert_eq!(encoded.data, [0b10_01]);
//! assert_eq!(warp_bitnet::decode(&encoded.data, 1, 16, encoded.gamma)?, matrix);
//!
//! let legacy = warp_bitnet::encode_legacy(&matrix)?;
//! assert_eq!(legacy.data, [0b0010_0001, 0]);
//! assert_eq!(warp_bitnet::decode_legacy(&legacy.data, 1, 16, legacy.gamma)?, matrix);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use rayon::prelude::*;

use super::{CodecError, Encoded, check};
use crate::fields::sign_magnitude;
use crate::layout::WEIGHTS_PER_WORD;
use crate::matrix::PackedMatrix;
use crate::scale::ScaleGranularity;

const FORMAT: &str = "warp-bitnet";
const LEGACY: &str = "warp-bitnet 4-bit";

/// Words to a task.
const TASK: usize = 1 << 12;

/// Reads `[out, in / 16]` words; the matrix has one scale, `gamma`.
///
/// # Errors
/// [`CodecError::Layout`], [`CodecError::Multiple`], [`CodecError::Length`],
/// [`CodecError::InvalidCode`] for the first code 3, [`CodecError::BadScale`].
pub fn decode(
    words: &[u32],
    out_features: usize,
    in_features: usize,
    gamma: f32,
) -> Result<PackedMatrix, CodecError> {
    let layout = check::layout(out_features, in_features, ScaleGranularity::Tensor)?;
    check::multiple(FORMAT, "in_features", in_features, WEIGHTS_PER_WORD)?;
    check::length(FORMAT, "words", words.len(), layout.word_count(), 1)?;
    let words = words.par_iter().with_min_len(TASK);
    let words = words.map(|&word| sign_magnitude::decode(word)).collect();
    check::matrix(FORMAT, layout, words, vec![gamma], 3)
}

/// Words `[out, in / 16]` and γ of a ternary matrix whose scales are all the same.
///
/// # Errors
/// [`CodecError::CodeTable`], [`CodecError::Multiple`], [`CodecError::ScalesDiffer`],
/// [`CodecError::BadScale`].
pub fn encode(matrix: &PackedMatrix) -> Result<Encoded<u32>, CodecError> {
    check::ternary(FORMAT, matrix)?;
    let in_features = matrix.layout().in_features();
    check::multiple(FORMAT, "in_features", in_features, WEIGHTS_PER_WORD)?;
    let gamma = check::one_scale(FORMAT, matrix)?;
    let words = matrix.words().par_iter().with_min_len(TASK);
    let data = words.map(|&word| sign_magnitude::encode(word)).collect();
    Ok(Encoded { data, gamma })
}

/// Reads `[out, in / 8]` words of 4-bit fields; the matrix has one scale, `gamma`. `in` is a
/// multiple of 8.
///
/// # Errors
/// As [`decode`]; [`CodecError::InvalidCode`] for the first field over 2.
pub fn decode_legacy(
    words: &[u32],
    out_features: usize,
    in_features: usize,
    gamma: f32,
) -> Result<PackedMatrix, CodecError> {
    let layout = check::layout(out_features, in_features, ScaleGranularity::Tensor)?;
    check::multiple(LEGACY, "in_features", in_features, 8)?;
    let stored_per_row = in_features / 8;
    check::length(LEGACY, "words", words.len(), out_features, stored_per_row)?;
    if let Some(error) = first_invalid_legacy(words, stored_per_row) {
        return Err(error);
    }
    let pair = |pair: &[u32]| {
        let high = pair.get(1).map_or(0, |&word| gather_nibbles(word));
        // The half that a last word may lack is zero weights, which is padding.
        sign_magnitude::decode(gather_nibbles(pair[0]) | high << 16)
    };
    let rows = words.par_chunks(stored_per_row);
    let words = rows.flat_map_iter(|row| row.chunks(2).map(pair)).collect();
    check::matrix(LEGACY, layout, words, vec![gamma], 3)
}

/// 4-bit words `[out, in / 8]` and γ of a ternary matrix whose scales are all the same.
///
/// # Errors
/// As [`encode`], with `in` a multiple of 8.
pub fn encode_legacy(matrix: &PackedMatrix) -> Result<Encoded<u32>, CodecError> {
    check::ternary(LEGACY, matrix)?;
    let layout = matrix.layout();
    check::multiple(LEGACY, "in_features", layout.in_features(), 8)?;
    let gamma = check::one_scale(LEGACY, matrix)?;
    let stored_per_row = layout.in_features() / 8;
    let rows = matrix.words().par_chunks(layout.words_per_row());
    let data = rows
        .flat_map_iter(|row| {
            let halves = row.iter().flat_map(|&word| {
                let fields = sign_magnitude::encode(word);
                [spread_nibbles(fields), spread_nibbles(fields >> 16)]
            });
            halves.take(stored_per_row)
        })
        .collect();
    Ok(Encoded { data, gamma })
}

fn first_invalid_legacy(words: &[u32], stored_per_row: usize) -> Option<CodecError> {
    // A field over 2 has one of its upper bits, or both lower ones.
    let wrong = |word: u32| word & 0xcccc_cccc | word & word >> 1 & 0x1111_1111;
    let at = words.par_iter().with_min_len(TASK);
    let at = at.position_first(|&word| wrong(word) != 0)?;
    let field = wrong(words[at]).trailing_zeros() / 4;
    Some(CodecError::InvalidCode {
        format: LEGACY,
        row: at / stored_per_row,
        col: at % stored_per_row * 8 + field as usize,
        code: words[at] >> (4 * field) & 15,
    })
}

/// Eight 4-bit fields, none over 3, as 2-bit fields.
fn gather_nibbles(word: u32) -> u32 {
    let x = (word | word >> 2) & 0x0f0f_0f0f;
    let x = (x | x >> 4) & 0x00ff_00ff;
    (x | x >> 8) & 0xffff
}

/// The inverse of [`gather_nibbles`], of the low 16 bits.
fn spread_nibbles(fields: u32) -> u32 {
    let x = fields & 0xffff;
    let x = (x | x << 8) & 0x00ff_00ff;
    let x = (x | x << 4) & 0x0f0f_0f0f;
    (x | x << 2) & 0x3333_3333
}
