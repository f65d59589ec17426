//! Activations to int8, one scale a token (row).
//!
//! `a = 127 / max(max|x|, 1e-5)`, `q = clamp(round(x · a), -128, 127)`, rounding half to even, f32.
//! A row is worth `q · s` with `s = 1 / a`. A row that holds NaN or infinity becomes zeros with a
//! scale of NaN, so that its whole output is NaN.
//!
//! Storage: a row of K inputs is [`activation_words_per_row`] u32 words of four int8 each, input
//! `4j + b` in byte `b` of word `j` (little-endian), zero padded to a multiple of 16 inputs.

use rayon::prelude::*;

use super::SCALE_FLOOR;
use crate::error::{MatrixError, check_length};
use crate::layout::activation_words_per_row;
use crate::simd::multiversion;

/// Quantises one row. Writes `x.len()` values and zeros behind them; returns the scale `s` that
/// turns them back (`x ≈ q · s`), NaN if any input is NaN or infinite.
///
/// # Panics
/// If `out` is shorter than `x`.
pub fn quantize_row(x: &[f32], out: &mut [i8]) -> f32 {
    let (out, padding) = out.split_at_mut(x.len());
    padding.fill(0);
    quantize_exact(x, out)
}

/// Quantises row-major `[M, in_features]` inputs into `words`
/// (`[M, activation_words_per_row(in_features)]`) and `scales` (`[M]`).
///
/// # Errors
/// [`MatrixError::Length`] if the lengths do not belong to one M.
#[doc(hidden)]
pub fn quantize_rows(
    x: &[f32],
    in_features: usize,
    words: &mut [u32],
    scales: &mut [f32],
) -> Result<(), MatrixError> {
    let words_per_row = activation_words_per_row(in_features);
    let rows = scales.len();
    check_length("activations", x.len(), rows.saturating_mul(in_features))?;
    check_length(
        "activation words",
        words.len(),
        rows.saturating_mul(words_per_row),
    )?;
    if in_features == 0 {
        scales.fill(SCALE_FLOOR / 127.0);
        return Ok(());
    }
    let rows_per_task = VALUES_PER_TASK.div_ceil(in_features);
    words
        .par_chunks_mut(words_per_row * rows_per_task)
        .zip(x.par_chunks(in_features * rows_per_task))
        .zip(scales.par_chunks_mut(rows_per_task))
        .for_each(|((words, x), scales)| {
            let rows = words.chunks_mut(words_per_row).zip(x.chunks(in_features));
            for ((words, x), scale) in rows.zip(scales) {
                *scale = quantize_row(x, activation_bytes_mut(words));
            }
        });
    Ok(())
}

/// Rows of one task are cut so that it handles about this many values.
const VALUES_PER_TASK: usize = 1 << 15;

/// The int8 values inside activation words, padding included.
pub fn activation_bytes(words: &[u32]) -> &[i8] {
    bytemuck::cast_slice(words)
}

/// The int8 values inside activation words, to be written.
pub fn activation_bytes_mut(words: &mut [u32]) -> &mut [i8] {
    bytemuck::cast_slice_mut(words)
}

/// `q · s`, row-major `[M, in_features]`, from words and scales as [`quantize_rows`] writes them; as
/// many rows as both hold.
pub fn dequantize_rows(words: &[u32], scales: &[f32], in_features: usize) -> Vec<f32> {
    let stride = (4 * activation_words_per_row(in_features)).max(1);
    let rows = activation_bytes(words).chunks_exact(stride).zip(scales);
    let mut values = Vec::with_capacity(scales.len() * in_features);
    for (row, &scale) in rows {
        values.extend(row[..in_features].iter().map(|&q| f32::from(q) * scale));
    }
    values
}

/// Int8 activations with their per-token scales, in the storage order of this [module](self).
///
/// # Examples
///
/// ```
/// use tritburn_formats::QuantizedActivations;
///
/// let x = QuantizedActivations::quantize(&[1.0, -0.5, 0.25], 3)?; // one token of three inputs
/// assert_eq!(x.bytes()[..3], [127, -64, 32]);
/// assert!((x.scales()[0] - 1.0 / 127.0).abs() < 1e-9);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedActivations {
    in_features: usize,
    words: Vec<u32>,
    scales: Vec<f32>,
}

impl QuantizedActivations {
    /// Quantises row-major `[M, in_features]` inputs; M may be 0.
    ///
    /// # Errors
    /// [`MatrixError::Length`] if `x` is not a whole number of rows, or `in_features` is 0.
    pub fn quantize(x: &[f32], in_features: usize) -> Result<Self, MatrixError> {
        let rows = x.len().checked_div(in_features).unwrap_or(0);
        if in_features == 0 || rows * in_features != x.len() {
            return Err(MatrixError::Length {
                what: "activations",
                found: x.len(),
                expected: rows * in_features,
            });
        }
        let mut words = vec![0; rows * activation_words_per_row(in_features)];
        let mut scales = vec![0.0; rows];
        quantize_rows(x, in_features, &mut words, &mut scales)?;
        Ok(Self {
            in_features,
            words,
            scales,
        })
    }

    /// Rows M.
    pub fn rows(&self) -> usize {
        self.scales.len()
    }

    /// Inputs of a row, without padding.
    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// `[M, activation_words_per_row(in_features)]` words.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// The same as int8, `[M, 16 · ceil(in_features / 16)]`.
    pub fn bytes(&self) -> &[i8] {
        activation_bytes(&self.words)
    }

    /// `[M]` scales.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// Words and scales.
    pub fn into_parts(self) -> (Vec<u32>, Vec<f32>) {
        (self.words, self.scales)
    }

    /// `q · s`, row-major `[M, in_features]`.
    pub fn dequantize(&self) -> Vec<f32> {
        dequantize_rows(&self.words, &self.scales, self.in_features)
    }
}

multiversion! {
    fn quantize_exact(x: &[f32], out: &mut [i8]) -> f32 = quantize_exact_generic;
}

/// 1.5 · 2²³: f32 has no fraction bits there, so adding it rounds half to even, and the low byte of
/// the sum is the rounded value in two's complement (for values in i8's range).
const ROUND: f32 = 12_582_912.0;

#[inline(always)]
fn quantize_exact_generic(x: &[f32], out: &mut [i8]) -> f32 {
    // Without their sign bit, floats order as integers, with infinity and NaN on top.
    let abs_max = x
        .iter()
        .fold(0, |max: i32, v| max.max((v.to_bits() & 0x7fff_ffff) as i32));
    let abs_max = f32::from_bits(abs_max as u32);
    if !abs_max.is_finite() {
        out.fill(0);
        return f32::NAN;
    }
    let a = 127.0 / abs_max.max(SCALE_FLOOR);
    for (q, v) in out.iter_mut().zip(x) {
        // |x · a| is at most 127 and a rounding error: the clamp to i8 never has anything to do.
        *q = (v * a + ROUND).to_bits() as i8;
    }
    1.0 / a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_quantises_to_the_same_bytes() {
        for len in [1, 7, 64, 1000, 4099] {
            let x: Vec<f32> = (0..len).map(|i| (i as f32 * 1.3).cos() * 5.0).collect();
            let mut out = [vec![0; len], vec![0; len]];
            let a = quantize_exact(&x, &mut out[0]);
            let b = quantize_exact_generic(&x, &mut out[1]);
            assert_eq!(
                (a.to_bits(), &out[0]),
                (b.to_bits(), &out[1]),
                "{len} values"
            );
        }
    }
}
