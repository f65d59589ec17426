//! What quantising did to the weights of a layer.

use rayon::prelude::*;

use crate::affine::AffineMatrix;
use crate::error::{MatrixError, check_length};

/// How far quantised weights are from those they were made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightReport {
    /// `‖W - Ŵ‖ / ‖W‖` (Frobenius); 0 where both are zero.
    pub relative_error: f64,
    /// `max |w - ŵ|`.
    pub largest_error: f32,
    /// Bits stored per weight, dropped ones, scales and zero points included.
    pub bits_per_weight: f64,
}

/// Compares a matrix with the row-major weights `[out, in]` that it was made of.
///
/// # Errors
/// [`MatrixError::Length`] if `weights` is not `out · in` long.
///
/// # Examples
///
/// ```
/// use tritburn_formats::affine::{AffineLayout, Bits, FloatType};
/// use tritburn_formats::quantize::affine::{round_to_nearest, weight_report};
///
/// // Multiples of one step are not changed; 4 bits and a 32-bit scale for 64 weights.
/// let layout = AffineLayout::new([1, 64], Bits::Four, None)?.with_floats(FloatType::F32);
/// let weights: Vec<f32> = (0..64).map(|i| (i % 15 - 7) as f32 * 0.25).collect();
/// let report = weight_report(&weights, &round_to_nearest(&weights, &layout)?)?;
/// assert_eq!((report.relative_error, report.bits_per_weight), (0.0, 4.5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn weight_report(weights: &[f32], matrix: &AffineMatrix) -> Result<WeightReport, MatrixError> {
    let layout = matrix.layout();
    check_length("weights", weights.len(), layout.weight_count())?;
    let k = layout.in_features();
    let quantised = matrix.dequantize();
    // Sums of rows, added in their order: the same whatever the threads.
    let rows: Vec<(f64, f64, f32)> = weights
        .par_chunks(k)
        .zip(quantised.par_chunks(k))
        .map(|(weights, quantised)| {
            let pairs = weights.iter().zip(quantised);
            pairs.fold((0.0, 0.0, 0.0), |(error, size, largest), (&w, &q)| {
                let difference = f64::from(w) - f64::from(q);
                let error = error + difference * difference;
                let size = size + f64::from(w) * f64::from(w);
                (error, size, f32::max(largest, difference.abs() as f32))
            })
        })
        .collect();
    let error: f64 = rows.iter().map(|row| row.0).sum();
    let size: f64 = rows.iter().map(|row| row.1).sum();
    Ok(WeightReport {
        relative_error: if error == 0.0 {
            0.0
        } else {
            (error / size).sqrt()
        },
        largest_error: rows.iter().fold(0.0, |largest, row| largest.max(row.2)),
        bits_per_weight: 8.0 * layout.byte_count() as f64 / layout.weight_count() as f64,
    })
}
