//! Weights to 2-bit codes and f32 scales.
//!
//! Ternary (BitNet b1.58): `γ = max(mean|W|, 1e-5)`, `code = clamp(round(w / γ), -1, 1) + 1`.
//! Int2, four levels: `s = max(mean|W|, 1e-5) · 1.2479`, `code = clamp(round(w / s + 1.5), 0, 3)`.
//! Rounding is half to even, division and addition are single IEEE f32 operations, the mean is
//! summed as [`crate::sum`] says. Where a mean is NaN or infinite (a weight was), the scale is NaN
//! and every code is [`WeightCode::PADDING`], so what is computed from it is NaN and never
//! silently finite.

use rayon::prelude::*;

use super::SCALE_FLOOR;
use crate::code::WeightCode;
use crate::error::{MatrixError, check_length};
use crate::fields::gather_fields;
use crate::layout::{PackedLayout, WEIGHTS_PER_WORD};
use crate::matrix::PackedMatrix;
use crate::scale::ScaleGranularity;
use crate::simd::multiversion;
use crate::sum::abs_mean;

/// Int2 step in units of `mean|W|`: the least-squares four-level uniform quantiser of a Gaussian
/// has a step of 0.9957 σ (J. Max, "Quantizing for Minimum Distortion", IRE Trans. Inf. Theory 6,
/// 1960, Table II), and `σ = mean|W| · sqrt(π / 2)`.
pub const INT2_STEP: f32 = 1.2479;

/// The scale of weights whose absolute mean is `mean`: γ for ternary, the step s for int2.
///
/// NaN if the mean, or the scale itself, is not finite.
pub fn weight_scale_from_mean(mean: f32, code: WeightCode) -> f32 {
    // `f32::max` would turn a NaN mean into the floor.
    let scale = match code {
        WeightCode::Ternary => mean.max(SCALE_FLOOR),
        WeightCode::Int2 => mean.max(SCALE_FLOOR) * INT2_STEP,
    };
    if mean.is_finite() && scale.is_finite() {
        scale
    } else {
        f32::NAN
    }
}

/// The scales of a row-major `[out, in]` f32 matrix, as many as
/// [`PackedLayout::scale_count`] says.
///
/// # Errors
/// [`MatrixError::Length`] if `w` is not `out · in` long.
pub fn weight_scales(w: &[f32], layout: &PackedLayout) -> Result<Vec<f32>, MatrixError> {
    check_length("weights", w.len(), layout.weight_count())?;
    Ok(scales_of(w, layout))
}

fn scales_of(w: &[f32], layout: &PackedLayout) -> Vec<f32> {
    let scale = |segment: &[f32]| weight_scale_from_mean(abs_mean(segment), layout.code());
    match layout.scale() {
        ScaleGranularity::Tensor => vec![scale(w)],
        ScaleGranularity::Row => w.par_chunks(layout.in_features()).map(scale).collect(),
        ScaleGranularity::Group { .. } => {
            let groups = layout.scale_count() / layout.out_features();
            let mut scales = vec![0.0; layout.scale_count()];
            scales
                .par_chunks_mut(groups)
                .zip(w.par_chunks(layout.in_features()))
                .for_each(|(scales, row)| {
                    let segments = row.chunks(layout.scale_span());
                    scales
                        .iter_mut()
                        .zip(segments)
                        .for_each(|(s, x)| *s = scale(x));
                });
            scales
        }
        ScaleGranularity::Segments { rows } => {
            let mut rest = w;
            rows.iter()
                .map(|rows| {
                    let (segment, tail) = rest.split_at(rows * layout.in_features());
                    rest = tail;
                    scale(segment)
                })
                .collect()
        }
    }
}

/// Ternary code (0, 1, 2 for -1, 0, +1) of one weight: `clamp(round(w / γ), -1, 1) + 1`.
/// NaN in either argument gives 1.
pub fn ternary_code(w: f32, gamma: f32) -> u32 {
    // Half to even sends ±0.5 to 0; comparisons with NaN are false.
    let q = w / gamma;
    1 + u32::from(q > 0.5) - u32::from(q < -0.5)
}

/// Int2 code (0..=3 for -1.5, -0.5, 0.5, 1.5) of one weight:
/// `clamp(round(w / s + 1.5), 0, 3)`. NaN in either argument gives 1.
#[inline(always)]
pub fn int2_code(w: f32, s: f32) -> u32 {
    // Half to even sends 0.5 to 0, 1.5 and 2.5 to 2; written so that NaN passes one test of three.
    let q = w / s + 1.5;
    u32::from(q > 0.5 || q.is_nan()) + u32::from(q >= 1.5) + u32::from(q > 2.5)
}

/// Quantises and packs a row-major `[out, in]` f32 matrix. No weight is refused: NaN or infinite
/// ones make their scale NaN. This is the training forward; to store weights use [`pack_weights`].
///
/// # Errors
/// [`MatrixError::Length`] if `w` is not `out · in` long.
pub fn quantize_weights(w: &[f32], layout: &PackedLayout) -> Result<PackedMatrix, MatrixError> {
    let scales = weight_scales(w, layout)?;
    let words = quantize_words(w, &scales, layout);
    Ok(PackedMatrix::from_quantizer(layout.clone(), words, scales))
}

/// [`quantize_weights`] for weights that come from outside.
///
/// # Errors
/// [`MatrixError::Length`] if `w` is not `out · in` long, [`MatrixError::NonFinite`] with the first
/// NaN or infinite weight, [`MatrixError::ScaleOverflow`] if finite weights have no finite mean.
///
/// # Examples
///
/// ```
/// use tritburn_formats::quantize::pack_weights;
/// use tritburn_formats::{MatrixError, PackedLayout, ScaleGranularity, WeightCode};
///
/// // Two segments of one row, each with the mean of its sizes for a scale.
/// let scale = ScaleGranularity::Segments { rows: vec![1, 1] };
/// let layout = PackedLayout::new(2, 4, WeightCode::Ternary, scale)?;
/// let matrix = pack_weights(&[0.25, -1.0, 0.75, 2.0, 4.0, 0.0, -4.0, 0.0], &layout)?;
/// assert_eq!(matrix.scales(), [1.0, 2.0]);
/// assert_eq!([0, 1, 2, 3].map(|col| matrix.value(0, col)), [0, -1, 1, 1].map(Some));
///
/// let error = pack_weights(&[f32::NAN; 8], &layout);
/// assert!(matches!(error, Err(MatrixError::NonFinite { row: 0, col: 0, .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn pack_weights(w: &[f32], layout: &PackedLayout) -> Result<PackedMatrix, MatrixError> {
    let matrix = quantize_weights(w, layout)?;
    // Every weight is in some mean, so a bad one has made a scale NaN: no need for a pass of its own.
    let Some(index) = matrix.scales().iter().position(|s| !s.is_finite()) else {
        return Ok(matrix);
    };
    Err(match w.iter().position(|v| !v.is_finite()) {
        Some(at) => MatrixError::NonFinite {
            row: at / layout.in_features(),
            col: at % layout.in_features(),
            value: w[at],
        },
        None => MatrixError::ScaleOverflow { index },
    })
}

/// Rows of one task are cut so that it handles about this many weights.
pub(super) const WEIGHTS_PER_TASK: usize = 1 << 16;

/// Words of a matrix with these scales.
pub(super) fn quantize_words(w: &[f32], scales: &[f32], layout: &PackedLayout) -> Vec<u32> {
    let (k, span) = (layout.in_features(), layout.scale_span());
    let words_per_row = layout.words_per_row();
    let rows_per_task = WEIGHTS_PER_TASK.div_ceil(k);
    let row_scales = layout.scale().row_scales(scales, layout.out_features());
    let groups = layout.scale().groups_per_row(k);
    let scales = row_scales.as_deref().unwrap_or(scales);
    let quantize = match layout.code() {
        WeightCode::Ternary => ternary_words,
        WeightCode::Int2 => int2_words,
    };
    let mut words = vec![0; layout.word_count()];
    words
        .par_chunks_mut(words_per_row * rows_per_task)
        .zip(w.par_chunks(k * rows_per_task))
        .zip(scales.par_chunks(groups * rows_per_task))
        .for_each(|((words, w), scales)| {
            let rows = words.chunks_mut(words_per_row).zip(w.chunks(k));
            for ((words, row), scales) in rows.zip(scales.chunks(groups)) {
                let spans = words.chunks_mut(span.div_ceil(WEIGHTS_PER_WORD));
                for ((words, w), &scale) in spans.zip(row.chunks(span)).zip(scales) {
                    quantize(w, scale, words);
                }
            }
        });
    words
}

multiversion! {
    fn ternary_words(w: &[f32], gamma: f32, words: &mut [u32]) = ternary_words_generic;
}

/// Packs weights of one γ, which is at least [`SCALE_FLOOR`] or NaN.
///
/// No division: for such a γ, `round(w / γ) > 0` means that the f32 quotient is over 0.5, which it
/// is exactly if `w > γ / 2`. γ / 2 is exact. If `w` is over it, it is so by at least one ulp of
/// γ / 2, which is more than 2⁻²⁴ · γ / 2; the true quotient is then over 0.5 + 2⁻²⁵, halfway to
/// the next float, and rounds up. If `w` is not over it, the quotient is at most 0.5.
#[inline(always)]
fn ternary_words_generic(w: &[f32], gamma: f32, words: &mut [u32]) {
    let half = gamma * 0.5;
    pack_words(w, words, |v| 1 + u32::from(v > half) - u32::from(v < -half));
}

multiversion! {
    fn int2_words(w: &[f32], s: f32, words: &mut [u32]) = int2_words_generic;
}

#[inline(always)]
fn int2_words_generic(w: &[f32], s: f32, words: &mut [u32]) {
    pack_words(w, words, |v| int2_code(v, s));
}

/// Words packed at a time: their codes, one byte each, stay in L1.
const TILE_WORDS: usize = 64;

/// Codes of `w` into `words`, padding included. In two simple loops, which vectorise where one
/// that does both does not: weights to a byte each, then eight bytes to 16 bits.
#[inline(always)]
fn pack_words(w: &[f32], words: &mut [u32], code: impl Fn(f32) -> u32) {
    let mut codes = [WeightCode::PADDING as u8; TILE_WORDS * WEIGHTS_PER_WORD];
    for (w, words) in w.chunks(codes.len()).zip(words.chunks_mut(TILE_WORDS)) {
        for (byte, &v) in codes.iter_mut().zip(w) {
            *byte = code(v) as u8;
        }
        // Only the last word of a row has padding; no weight to derive its code from.
        codes[w.len()..words.len() * WEIGHTS_PER_WORD].fill(WeightCode::PADDING as u8);
        let (eights, _) = codes.as_chunks::<8>();
        let (pairs, _) = eights.as_chunks::<2>();
        for (word, [low, high]) in words.iter_mut().zip(pairs) {
            *word = gather_fields(u64::from_le_bytes(*low))
                | gather_fields(u64::from_le_bytes(*high)) << 16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded_quotient(w: f32, gamma: f32) -> u32 {
        ((w / gamma).round_ties_even().clamp(-1.0, 1.0) + 1.0) as u32
    }

    fn random_bits(state: &mut u64) -> u32 {
        *state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (*state >> 32) as u32
    }

    #[test]
    fn comparing_with_half_gamma_is_the_rounded_ieee_quotient() {
        let mut state = 7;
        let floor = SCALE_FLOOR.to_bits();
        for _ in 0..20_000 {
            let gamma = f32::from_bits(floor + random_bits(&mut state) % (0x7f80_0000 - floor));
            let half = gamma / 2.0;
            let mut w: Vec<f32> = (-8i32..8)
                .map(|d| f32::from_bits(half.to_bits().wrapping_add_signed(d)))
                .flat_map(|v| [v, -v])
                .collect();
            w.extend([
                0.0,
                -0.0,
                gamma,
                -gamma,
                f32::MIN_POSITIVE,
                f32::MAX,
                f32::MIN,
            ]);
            let mut words = vec![0; w.len().div_ceil(16)];
            ternary_words(&w, gamma, &mut words);
            for (i, &v) in w.iter().enumerate() {
                let code = words[i / 16] >> (2 * (i % 16)) & 3;
                assert_eq!(code, rounded_quotient(v, gamma), "{v:e} / {gamma:e}");
                assert_eq!(code, ternary_code(v, gamma), "{v:e} / {gamma:e}");
            }
        }
    }

    #[test]
    fn every_instruction_set_packs_the_same_words() {
        let mut state = 3;
        for len in [1usize, 15, 16, 17, 1023, 1024, 1025, 5000] {
            let w: Vec<f32> = (0..len)
                .map(|_| random_bits(&mut state) as i32 as f32 / 1e9)
                .collect();
            type Pack = fn(&[f32], f32, &mut [u32]);
            let pairs: [(Pack, Pack); 2] = [
                (ternary_words, ternary_words_generic),
                (int2_words, int2_words_generic),
            ];
            for (dispatched, generic) in pairs {
                let mut words = [vec![0; len.div_ceil(16)], vec![0; len.div_ceil(16)]];
                dispatched(&w, 1.1, &mut words[0]);
                generic(&w, 1.1, &mut words[1]);
                assert_eq!(words[0], words[1], "{len} weights");
            }
        }
    }
}
