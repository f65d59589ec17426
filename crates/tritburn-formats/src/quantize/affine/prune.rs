//! Which 16 of 32 inputs to keep.

use rayon::prelude::*;

use crate::affine::UNIT;
use crate::error::{LayoutError, MatrixError, check_length};

/// Inputs kept of a unit.
const KEPT: usize = UNIT / 2;

/// Masks `[out, in / 32]` that keep the 16 largest `|w|` of every 32 inputs of row-major weights
/// `[out, in]`; of equal ones, the first.
///
/// # Errors
/// [`LayoutError::Sparse`] unless `in_features` is a positive multiple of 32,
/// [`MatrixError::Length`] for weights that are no whole rows.
///
/// # Examples
///
/// ```
/// use tritburn_formats::quantize::affine::keep_largest;
///
/// let weights: Vec<f32> = (0..32).map(|i| if i % 2 == 0 { 0.1 } else { -0.2 }).collect();
/// assert_eq!(keep_largest(&weights, 32)?, [0xaaaa_aaaa]);
/// # Ok::<(), tritburn_formats::MatrixError>(())
/// ```
pub fn keep_largest(weights: &[f32], in_features: usize) -> Result<Vec<u32>, MatrixError> {
    if in_features == 0 || !in_features.is_multiple_of(UNIT) {
        let error = LayoutError::Sparse {
            bits: 4,
            in_features,
            group_size: None,
        };
        return Err(error.into());
    }
    let rows = weights.len() / in_features;
    check_length("weights", weights.len(), rows * in_features)?;
    Ok(weights.par_chunks(UNIT).map(mask_of).collect())
}

fn mask_of(weights: &[f32]) -> u32 {
    let mut order: [usize; UNIT] = std::array::from_fn(|i| i);
    order.sort_by(|&a, &b| weights[b].abs().total_cmp(&weights[a].abs()));
    order[..KEPT].iter().fold(0, |mask, l| mask | 1 << l)
}
