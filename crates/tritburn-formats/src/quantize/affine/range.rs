//! Round to nearest, with the scale that holds the range of a group: what is cheap enough to do in every
//! step of a training.

use super::driver::{Group, quantize};
use super::round::stored_scale;
use crate::affine::{AffineLayout, AffineMatrix};
use crate::error::MatrixError;

/// Quantises row-major weights `[out, in]`, each group to the scale at which nothing is clipped.
///
/// With zero points, `scale = (high - low) / (2^b - 1)` and `zero = round(-low / scale)`, where `low` is the
/// smallest weight or 0 and `high` the largest or 0. Without, codes are symmetric about the middle `2^(b-1)`, and
/// `scale = max|w| / (2^(b-1) - 1)`. A group of zeros has the scale 1.
///
/// # Errors
/// As [`round_to_nearest`](super::round_to_nearest).
///
/// # Examples
///
/// ```
/// use tritburn_formats::affine::{AffineLayout, Bits};
/// use tritburn_formats::quantize::affine::round_in_range;
///
/// let layout = AffineLayout::new([1, 4], Bits::Two, None)?.with_zeros();
/// let matrix = round_in_range(&[-1.0, -0.4, 0.0, 0.5], &layout)?;
/// assert_eq!(matrix.codes(), [0, 1, 2, 3]);
/// assert_eq!(matrix.dequantize(), [-1.0, -0.5, 0.0, 0.5]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn round_in_range(weights: &[f32], layout: &AffineLayout) -> Result<AffineMatrix, MatrixError> {
    quantize(weights, layout, |group| fit(group, layout))
}

fn fit(weights: &[f32], layout: &AffineLayout) -> Group {
    let low = weights.iter().fold(0.0, |m: f32, &w| m.min(w));
    let high = weights.iter().fold(0.0, |m: f32, &w| m.max(w));
    let max = f32::from(layout.bits().max_code());
    let midpoint = f32::from(layout.bits().midpoint());
    if low == high {
        return Group {
            scale: 1.0,
            zero: midpoint,
        };
    }
    match layout.has_zeros() {
        true => {
            let scale = stored_scale((high - low) / max, layout.floats());
            let zero = (-low / scale).round_ties_even().min(max);
            Group { scale, zero }
        }
        false => Group {
            scale: stored_scale(high.max(-low) / (max - midpoint), layout.floats()),
            zero: midpoint,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::affine::Bits;

    #[test]
    fn nothing_is_clipped() {
        let weights: Vec<f32> = (0..96)
            .map(|i| ((i * 37 % 101) as f32 - 30.0) / 64.0)
            .collect();
        for bits in [Bits::Two, Bits::Three, Bits::Four] {
            for zeros in [true, false] {
                let layout = AffineLayout::new([2, 48], bits, Some(32)).unwrap();
                let layout = if zeros { layout.with_zeros() } else { layout };
                let matrix = round_in_range(&weights, &layout).unwrap();
                let scales = matrix.scales().to_f32();
                for (i, (weight, stored)) in weights.iter().zip(matrix.dequantize()).enumerate() {
                    // Two groups a row. A zero point is rounded, and so is the scale.
                    let scale = scales[i / 48 * 2 + i % 48 / 32];
                    assert!(
                        (weight - stored).abs() <= 1.01 * scale,
                        "{bits:?} {zeros} {i}"
                    );
                }
            }
        }
    }

    #[test]
    fn groups_on_one_side_of_zero_and_of_zeros_are_held() {
        let layout = AffineLayout::new([1, 48], Bits::Four, Some(16)).unwrap();
        let layout = layout.with_zeros();
        let mut weights = [0.0; 48];
        weights[..16].fill(0.9375);
        weights[16..32].fill(-0.9375);
        let matrix = round_in_range(&weights, &layout).unwrap();
        assert_eq!(matrix.dequantize(), weights);
        assert!(round_in_range(&[f32::NAN; 48], &layout).is_err());
        assert!(round_in_range(&[f32::MAX; 48], &layout).is_err());
    }
}
