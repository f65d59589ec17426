//! HQQ's half-quadratic search of zero points.

use super::driver::{Group, quantize};
use super::round::{self, stored_scale};
use crate::affine::{AffineLayout, AffineMatrix};
use crate::error::{LayoutError, MatrixError};

/// Settings of [`half_quadratic`]; the default is HQQ's own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HalfQuadratic {
    /// `p` of the norm, above 0 and at most 1: the smaller, the less outliers count.
    pub norm: f32,
    /// `β` of the first iteration, positive.
    pub beta: f32,
    /// What `β` grows by from iteration to iteration, at least 1.
    pub growth: f32,
    /// Iterations at most.
    pub iterations: usize,
}

impl Default for HalfQuadratic {
    fn default() -> Self {
        Self {
            norm: 0.7,
            beta: 10.0,
            growth: 1.01,
            iterations: 20,
        }
    }
}

/// Quantises row-major weights `[out, in]` with the zero point of each group that makes
/// `Σ |w - (q - z)·s|^p` small.
///
/// The step is `s = (max - min) / (2^b - 1)` and stays; the zero point starts at `z = -min / s`.
/// Each iteration takes the errors `e` that would be left to outliers, and moves the zero point:
///
/// ```text
/// q = clamp(round(w / s + z), 0, 2^b - 1)
/// r = w - (q - z)·s
/// e = sign(r) · max(|r| - |r|^(p - 1) / β, 0)
/// z = mean(q - (w - e) / s),  β = β · growth
/// ```
///
/// until the mean of `|r|` grows; the best zero point counts. Source: H. Badri and A. Shaji,
/// "Half-Quadratic Quantization of Large Machine Learning Models", Mobius Labs, 2023, and
/// `optimize_weights_proximal` in `hqq/core/optimize.py` (hqq 0.2.8), which stops all groups
/// together where this stops each on its own. Groups of equal weights, and those whose zero
/// point their type cannot hold, are rounded as [`round_to_nearest`](super::round_to_nearest) does.
///
/// # Errors
/// [`LayoutError::NoZeros`] for a layout without zero points, and as
/// [`round_to_nearest`](super::round_to_nearest).
///
/// # Examples
///
/// ```
/// use tritburn_formats::affine::{AffineLayout, Bits};
/// use tritburn_formats::quantize::affine::{HalfQuadratic, half_quadratic, weight_report};
///
/// let layout = AffineLayout::new([1, 64], Bits::Three, Some(32))?.with_zeros();
/// let weights: Vec<f32> = (0..64).map(|i| (i as f32 * 0.7).sin() * 0.02 + 0.01).collect();
/// let matrix = half_quadratic(&weights, &layout, &HalfQuadratic::default())?;
/// assert!(weight_report(&weights, &matrix)?.relative_error < 0.12);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn half_quadratic(
    weights: &[f32],
    layout: &AffineLayout,
    settings: &HalfQuadratic,
) -> Result<AffineMatrix, MatrixError> {
    if !layout.has_zeros() {
        let method = "half-quadratic quantisation";
        return Err(LayoutError::NoZeros { method }.into());
    }
    quantize(weights, layout, |group| {
        search(group, layout, settings).unwrap_or_else(|| round::fit(group, layout))
    })
}

/// `None` where there is no usable step or zero point.
fn search(weights: &[f32], layout: &AffineLayout, settings: &HalfQuadratic) -> Option<Group> {
    let max = f32::from(layout.bits().max_code());
    let low = weights.iter().fold(f32::INFINITY, |m, &w| m.min(w));
    let high = weights.iter().fold(f32::NEG_INFINITY, |m, &w| m.max(w));
    let step = stored_scale((high - low) / max, layout.floats());
    if low == high || !step.is_finite() {
        return None;
    }
    let (mut zero, mut beta) = (-low / step, settings.beta);
    let mut best = (f64::INFINITY, zero);
    for _ in 0..settings.iterations {
        let (mut error, mut sum) = (0.0, 0.0);
        for &w in weights {
            let code = (w / step + zero).round_ties_even().max(0.0).min(max);
            let rest = w - (code - zero) * step;
            error += f64::from(rest.abs());
            let left = (rest.abs() - rest.abs().powf(settings.norm - 1.0) / beta).max(0.0);
            sum += f64::from(code - (w - left.copysign(rest)) / step);
        }
        if error >= best.0 {
            break;
        }
        best = (error, zero);
        zero = (sum / weights.len() as f64) as f32;
        beta *= settings.growth;
    }
    let zero = layout.floats().round(best.1);
    zero.is_finite().then_some(Group { scale: step, zero })
}
