//! Per-token absmax int8 quantisation of activations.

use rayon::prelude::*;

use crate::error::{CpuError, area, expect_len};
use crate::isa::Isa;
use crate::parallel;
use crate::view::activation_words;

/// Quantises `x` `[M, k]` to int8, each row by `a = 127 / max(max|x|, 1e-5)`,
/// `q = round_half_even(x·a)`; the scale of a row is `1 / a`, in f32.
///
/// `codes` `[M, 4·ceil(k / 16)]` takes four codes to a little-endian word, zero past `k`; `scales`
/// `[M]` takes the scales. A row that holds a NaN or an infinity gets codes 0 and scale NaN, so
/// every product of it is NaN.
///
/// # Errors
/// [`CpuError::EmptyRow`] if `k` is zero, [`CpuError::Length`] if a slice does not fit `M`, the
/// length of `scales`.
pub fn quantize_activations(
    x: &[f32],
    k: usize,
    codes: &mut [u32],
    scales: &mut [f32],
) -> Result<(), CpuError> {
    quantize_activations_with(Isa::detect(), x, k, codes, scales)
}

/// [`quantize_activations`] on a given instruction set.
///
/// # Errors
/// Those of [`quantize_activations`], and [`CpuError::Unavailable`].
pub fn quantize_activations_with(
    isa: Isa,
    x: &[f32],
    k: usize,
    codes: &mut [u32],
    scales: &mut [f32],
) -> Result<(), CpuError> {
    if !isa.is_available() {
        return Err(CpuError::Unavailable { isa });
    }
    if k == 0 {
        return Err(CpuError::EmptyRow);
    }
    let words = activation_words(k);
    expect_len("x", x.len(), area(scales.len(), k)?)?;
    expect_len("codes", codes.len(), area(scales.len(), words)?)?;
    let row = |((x, codes), scale): ((&[f32], &mut [u32]), &mut f32)| {
        *scale = quantize_row(isa, x, codes);
    };
    // A row costs about as much as sixteen multiply-adds an element.
    if scales.len() > 1 && parallel::worth_it(x.len() * 16) {
        x.par_chunks_exact(k)
            .zip(codes.par_chunks_exact_mut(words))
            .zip(scales.par_iter_mut())
            .for_each(row);
    } else {
        x.chunks_exact(k)
            .zip(codes.chunks_exact_mut(words))
            .zip(scales.iter_mut())
            .for_each(row);
    }
    Ok(())
}

/// Quantises one row on an available instruction set and returns its scale.
fn quantize_row(isa: Isa, x: &[f32], codes: &mut [u32]) -> f32 {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller checked that the set is available.
        Isa::Avx512Vnni | Isa::Amx => unsafe { row_avx512(x, codes) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 | Isa::AvxVnni => unsafe { row_avx2(x, codes) },
        _ => row(x, codes),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn row_avx512(x: &[f32], codes: &mut [u32]) -> f32 {
    row(x, codes)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn row_avx2(x: &[f32], codes: &mut [u32]) -> f32 {
    row(x, codes)
}

/// Written so that the compiler vectorises it for the features of its caller.
#[inline(always)]
fn row(x: &[f32], codes: &mut [u32]) -> f32 {
    // The bits of |x| order as integers the way the values do, infinities and NaNs on top.
    const INFINITE: u32 = 0x7f80_0000;
    let mut top = [0u32; 64];
    let lanes = x.chunks_exact(64);
    let tail = lanes.remainder();
    for chunk in lanes {
        for (top, v) in top.iter_mut().zip(chunk) {
            *top = (*top).max(v.to_bits() & 0x7fff_ffff);
        }
    }
    let mut absmax = 0;
    for &bits in &top {
        absmax = absmax.max(bits);
    }
    for v in tail {
        absmax = absmax.max(v.to_bits() & 0x7fff_ffff);
    }
    if absmax >= INFINITE {
        codes.fill(0);
        return f32::NAN;
    }
    let a = 127.0 / f32::from_bits(absmax).max(1e-5);
    let (whole, rest) = x.as_chunks::<4>();
    for (code, x) in codes.iter_mut().zip(whole) {
        *code = word(*x, a);
    }
    if let Some(codes) = codes.get_mut(whole.len()..) {
        codes.fill(0);
        if !rest.is_empty() {
            let mut last = [0.0; 4];
            last[..rest.len()].copy_from_slice(rest);
            codes[0] = word(last, a);
        }
    }
    1.0 / a
}

/// Four codes as one word.
///
/// `|x·a|` is at most 127 and a rounding error, so the clamp to -128..=127 never acts, and adding
/// 1.5·2^23 rounds half to even and leaves the code in the low byte.
#[inline(always)]
fn word(x: [f32; 4], a: f32) -> u32 {
    const MAGIC: f32 = 12_582_912.0;
    let byte = |v: f32| (v * a + MAGIC).to_bits() & 0xff;
    byte(x[0]) | byte(x[1]) << 8 | byte(x[2]) << 16 | byte(x[3]) << 24
}
