//! Per-token absmax int8 quantisation of activations.

use rayon::prelude::*;
use tritburn_formats::layout::activation_words_per_row;
use tritburn_formats::quantize::activation::{activation_bytes_mut, quantize_row};

use crate::error::{CpuError, area, expect_len};
use crate::parallel;

/// Quantises `x` `[M, k]` to int8, each row by `a = 127 / max(max|x|, 1e-5)`,
/// `q = round_half_even(x·a)`; the scale of a row is `1 / a`, in f32. This is
/// [`tritburn_formats::quantize`]'s quantiser, spread over threads where that pays.
///
/// `codes` `[M, 4·ceil(k / 16)]` takes four codes to a little-endian word, zero past `k`; `scales`
/// `[M]` takes the scales. A row that holds a NaN or an infinity gets codes 0 and scale NaN, so
/// every product of it is NaN.
///
/// # Errors
/// [`CpuError::EmptyRow`] if `k` is zero, [`CpuError::Length`] if a slice does not fit `M`, the
/// length of `scales`.
///
/// # Examples
///
/// ```
/// use tritburn_cpu::quantize_activations;
///
/// // Two tokens of three inputs: a row of codes is 16 bytes, in four words.
/// let (mut codes, mut scales) = ([0; 2 * 4], [0.0; 2]);
/// quantize_activations(&[1.0, -0.5, 0.0, 2.0, 2.0, f32::NAN], 3, &mut codes, &mut scales)?;
/// assert_eq!(codes[0].to_le_bytes(), [127, -64_i8 as u8, 0, 0]);
/// assert!((scales[0] - 1.0 / 127.0).abs() < 1e-9);
/// assert!(codes[4..] == [0; 4] && scales[1].is_nan());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn quantize_activations(
    x: &[f32],
    k: usize,
    codes: &mut [u32],
    scales: &mut [f32],
) -> Result<(), CpuError> {
    if k == 0 {
        return Err(CpuError::EmptyRow);
    }
    let words = activation_words_per_row(k);
    expect_len("x", x.len(), area(scales.len(), k)?)?;
    expect_len("codes", codes.len(), area(scales.len(), words)?)?;
    let quantize = |((x, codes), scale): ((&[f32], &mut [u32]), &mut f32)| {
        *scale = quantize_row(x, activation_bytes_mut(codes));
    };
    // An element takes about as long as sixteen multiply-adds of a product.
    if scales.len() > 1 && parallel::worth_it(x.len().saturating_mul(16)) {
        x.par_chunks_exact(k)
            .zip(codes.par_chunks_exact_mut(words))
            .zip(scales.par_iter_mut())
            .for_each(quantize);
    } else {
        x.chunks_exact(k)
            .zip(codes.chunks_exact_mut(words))
            .zip(scales.iter_mut())
            .for_each(quantize);
    }
    Ok(())
}
