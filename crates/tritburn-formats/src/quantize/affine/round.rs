//! Round to nearest, with the scale of least squared error.

use super::driver::{Group, quantize};
use crate::affine::{AffineLayout, AffineMatrix, Bits, FloatType};
use crate::error::MatrixError;
use crate::simd::multiversion;

/// Steps that are tried, each [`SHRINK`] times the one before, from the one that clips nothing down to
/// a thirteenth of it: groups of two bits with outliers clip these most of all.
const STEPS: usize = 64;

/// From step to step.
const SHRINK: f32 = 0.96;

/// Quantises row-major weights `[out, in]`, each group to the scale of least squared error among
/// those tried.
///
/// Where the layout has no zero points, codes are symmetric about the middle `2^(b-1)`; with zero
/// points, these are integers from 0 to `2^b - 1`, so that every format of integer zero points holds
/// the result, and the weight 0 is exact. For each of 64 steps (and three neighbouring zero points)
/// weights are rounded to codes, and the scale becomes the one that fits these codes best,
/// `Σ w·v / Σ v²` with `v = code - zero`. A group of zeros has the scale 1.
///
/// # Errors
/// [`MatrixError::Length`], [`MatrixError::NonFinite`] for the first NaN or infinite weight,
/// [`MatrixError::ScaleOverflow`] for weights that are too large for the type of the scales,
/// [`MatrixError::Missing`] for a layout with an order, which this quantiser has none for.
///
/// # Examples
///
/// ```
/// use tritburn_formats::affine::{AffineLayout, Bits};
/// use tritburn_formats::quantize::affine::round_to_nearest;
///
/// let layout = AffineLayout::new([1, 4], Bits::Two, None)?;
/// let matrix = round_to_nearest(&[-1.0, -0.5, 0.0, 0.5], &layout)?;
/// assert_eq!(matrix.codes(), [0, 1, 2, 3]);
/// assert_eq!(matrix.dequantize(), [-1.0, -0.5, 0.0, 0.5]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn round_to_nearest(
    weights: &[f32],
    layout: &AffineLayout,
) -> Result<AffineMatrix, MatrixError> {
    quantize(weights, layout, |group| fit(group, layout))
}

/// Scale and zero point of a group.
pub(super) fn fit(weights: &[f32], layout: &AffineLayout) -> Group {
    let (bits, floats) = (layout.bits(), layout.floats());
    let midpoint = f32::from(bits.midpoint());
    let largest = weights.iter().fold(0.0, |m: f32, w| m.max(w.abs()));
    if largest == 0.0 {
        return Group {
            scale: 1.0,
            zero: midpoint,
        };
    }
    // In units of a power of two near the largest weight no sum overflows, and no weight is rounded.
    // Zeros behind the end change no sum.
    let unit = f32::from_bits(largest.to_bits() & EXPONENT).max(f32::MIN_POSITIVE);
    let mut relative = vec![0.0; weights.len().next_multiple_of(LANES)];
    for (r, w) in relative.iter_mut().zip(weights) {
        *r = w / unit;
    }
    let (scale, zero) = match layout.has_zeros() {
        false => {
            // Codes reach further down than up; the step is for the shorter side.
            let step = largest / unit / (f32::from(bits.max_code()) - midpoint);
            let best = search(&relative, step, midpoint, bits);
            (best.scale, midpoint)
        }
        true => {
            let low = relative.iter().fold(0.0, |m: f32, &w| m.min(w));
            let high = relative.iter().fold(0.0, |m: f32, &w| m.max(w));
            let max = f32::from(bits.max_code());
            let step = (high - low) / max;
            let near = (-low / step).round_ties_even();
            let zeros = [near, near - 1.0, near + 1.0].map(|zero| zero.clamp(0.0, max));
            let start = (search(&relative, step, near, bits), near);
            let best = zeros[1..].iter().fold(start, |best, &zero| {
                let found = search(&relative, step, zero, bits);
                if found.gain > best.0.gain {
                    (found, zero)
                } else {
                    best
                }
            });
            (best.0.scale, best.1)
        }
    };
    Group {
        scale: stored_scale(scale * unit, floats),
        zero,
    }
}

/// A positive scale as stored: never 0, infinite if too large.
pub(super) fn stored_scale(scale: f32, floats: FloatType) -> f32 {
    floats.round(scale).max(floats.smallest())
}

/// The scale of the best codes found.
#[derive(Clone, Copy)]
struct Best {
    /// What the codes explain of the squared weights.
    gain: f32,
    scale: f32,
}

/// The scale of least squared error over the steps, for a zero point.
fn search(relative: &[f32], largest_step: f32, zero: f32, bits: Bits) -> Best {
    let max = f32::from(bits.max_code());
    let mut best = Best {
        gain: 0.0,
        scale: largest_step,
    };
    let mut step = largest_step;
    for _ in 0..STEPS {
        let [products, squares] = sums(relative, 1.0 / step, zero, max);
        step *= SHRINK;
        // Σ(w - s·v)² at s = Σwv / Σv² is Σw² - (Σwv)² / Σv².
        if products > 0.0 {
            let gain = products * (products / squares);
            if gain > best.gain {
                best = Best {
                    gain,
                    scale: products / squares,
                };
            }
        }
    }
    best
}

const LANES: usize = 16;

/// The bits of an f32 that are its exponent.
const EXPONENT: u32 = 0x7f80_0000;

multiversion! {
    /// `Σ w·v` and `Σ v²`, `v = clamp(round(w · inverse + zero), 0, max) - zero`.
    fn sums(w: &[f32], inverse: f32, zero: f32, max: f32) -> [f32; 2] = sums_generic;
}

#[inline(always)]
fn sums_generic(w: &[f32], inverse: f32, zero: f32, max: f32) -> [f32; 2] {
    let (mut products, mut squares) = ([0.0f32; LANES], [0.0f32; LANES]);
    for w in w.as_chunks::<LANES>().0 {
        for l in 0..LANES {
            let code = (w[l] * inverse + zero).round_ties_even();
            let v = code.max(0.0).min(max) - zero;
            products[l] += w[l] * v;
            squares[l] += v * v;
        }
    }
    [products.iter().sum(), squares.iter().sum()]
}
