//! Ternary weights that are stored as floats: products of codes and scales, as converters write
//! them that unpack a ternary model.
//!
//! Their absolute mean is not γ, so to quantise them again would change them. They are recognised
//! exactly: every weight must be one of -γ, 0 and γ of its scale, bit for bit.

use rayon::prelude::*;

use super::weight::{WEIGHTS_PER_TASK, quantize_words};
use crate::code::WeightCode;
use crate::layout::PackedLayout;
use crate::matrix::PackedMatrix;
use crate::scale::ScaleGranularity;
use crate::simd::multiversion;

/// Most segments that are told from scales per row: fused projections have two or three.
const MAX_FOUND_SEGMENTS: usize = 8;

/// Group sizes that are tried, the largest first.
const GROUP_SIZES: [usize; 6] = [1024, 512, 256, 128, 64, 32];

/// Weights that are looked at together: the smallest group. Fewer weights a scale prove nothing.
const UNIT: usize = 32;

/// Magnitude of weights that are all zero, as the bits of an f32.
const NO_MAGNITUDE: u32 = 0;

/// Codes and scales of a row-major `[out, in]` f32 matrix that is ternary already, at the coarsest
/// granularity at which every weight is exactly `code · γ`:
///
/// 1. Tensor;
/// 2. Segments of consecutive rows, if there are at most 8;
/// 3. Row;
/// 4. Group, of the largest size among 1024, 512, 256, 128, 64 and 32 that is less than `in`. The
///    last group of a row may be shorter.
///
/// Rows or groups of zeros take the scale of the one before them (the first ones, that of the one
/// behind them); a matrix of zeros has the scale 1. -0.0 counts as 0.0. γ is positive and finite.
///
/// `None` if `weights` is not `out · in` long or no valid layout, if a weight is NaN or infinite,
/// and if a weight does not fit, which ends the search: ordinary weights cost no more than the
/// first few rows. Nor does a matrix count whose scales would each stand for fewer than 32 weights,
/// unless one scale fits all: two weights of one size are a coincidence.
///
/// # Examples
///
/// ```
/// use tritburn_formats::ScaleGranularity;
/// use tritburn_formats::quantize::recognize_ternary;
///
/// let mut weights = [[0.75_f32, 0.0, -0.75, 0.75].repeat(8), vec![0.125; 32]].concat();
/// let matrix = recognize_ternary(&weights, 2, 32).expect("ternary");
/// let scale = ScaleGranularity::Segments { rows: vec![1, 1] };
/// assert_eq!((matrix.layout().scale(), matrix.scales()), (&scale, &[0.75, 0.125][..]));
/// assert_eq!(matrix.dequantize(), weights);
///
/// weights[5] = 0.5;
/// assert_eq!(recognize_ternary(&weights, 2, 32), None);
/// ```
pub fn recognize_ternary(
    weights: &[f32],
    out_features: usize,
    in_features: usize,
) -> Option<PackedMatrix> {
    let layout = |scale| {
        let code = WeightCode::Ternary;
        PackedLayout::new(out_features, in_features, code, scale).ok()
    };
    if weights.len() != layout(ScaleGranularity::Tensor)?.weight_count() {
        return None;
    }
    let (scale, magnitudes) = granularity(&magnitudes(weights, in_features)?, in_features)?;
    let layout = layout(scale)?;
    let scales = fill(magnitudes);
    // A weight is over γ / 2 exactly if it is γ.
    let words = quantize_words(weights, &scales, &layout);
    Some(PackedMatrix::from_quantizer(layout, words, scales))
}

/// The magnitude of every 32 inputs of a row, `[out, ceil(in / 32)]`.
fn magnitudes(weights: &[f32], in_features: usize) -> Option<Vec<u32>> {
    let units = in_features.div_ceil(UNIT);
    let rows_per_task = WEIGHTS_PER_TASK.div_ceil(in_features);
    let mut found = vec![NO_MAGNITUDE; weights.len() / in_features * units];
    let all_fit = found
        .par_chunks_mut(units * rows_per_task)
        .zip(weights.par_chunks(in_features * rows_per_task))
        .all(|(found, weights)| {
            let mut rows = found.chunks_mut(units).zip(weights.chunks(in_features));
            rows.all(|(found, row)| row_magnitudes(row, found))
        });
    all_fit.then_some(found)
}

multiversion! {
    /// The one magnitude of every 32 weights of a row; whether each has one.
    fn row_magnitudes(row: &[f32], found: &mut [u32]) -> bool = row_magnitudes_generic;
}

#[inline(always)]
fn row_magnitudes_generic(row: &[f32], found: &mut [u32]) -> bool {
    const INFINITY: u32 = f32::INFINITY.to_bits();
    let size = |w: f32| w.abs().to_bits();
    let (full, rest) = row.as_chunks::<UNIT>();
    let mut last = [0.0; UNIT];
    last[..rest.len()].copy_from_slice(rest);
    let units = full.iter().chain((!rest.is_empty()).then_some(&last));
    for (found, unit) in found.iter_mut().zip(units) {
        let largest = unit.iter().fold(0, |max, &w| size(w).max(max));
        // NaN is above infinity.
        let fits = |w: f32| (size(w) == largest) | (size(w) == 0);
        if largest >= INFINITY || !unit.iter().fold(true, |all, &w| all & fits(w)) {
            return false;
        }
        *found = largest;
    }
    true
}

/// The coarsest granularity and the magnitude of each of its scales.
fn granularity(units: &[u32], in_features: usize) -> Option<(ScaleGranularity, Vec<u32>)> {
    if let Some(one) = common(units) {
        return Some((ScaleGranularity::Tensor, vec![one]));
    }
    let per_row = in_features.div_ceil(UNIT);
    let Some(rows) = merged(units, per_row, per_row) else {
        let sizes = GROUP_SIZES.into_iter().filter(|&size| size < in_features);
        let mut fitting = sizes.filter_map(|size| {
            let magnitudes = merged(units, per_row, size / UNIT)?;
            Some((ScaleGranularity::Group { size }, magnitudes))
        });
        return fitting.next();
    };
    if let Some((rows, magnitudes)) = segments(&rows)
        && rows.iter().all(|rows| rows * in_features >= UNIT)
    {
        return Some((ScaleGranularity::Segments { rows }, magnitudes));
    }
    (in_features >= UNIT).then_some((ScaleGranularity::Row, rows))
}

/// The magnitude of all `units`, if they have but one.
fn common(units: &[u32]) -> Option<u32> {
    let largest = units.iter().fold(NO_MAGNITUDE, |max, &unit| unit.max(max));
    let fits = |&unit: &u32| unit == largest || unit == NO_MAGNITUDE;
    units.iter().all(fits).then_some(largest)
}

/// The magnitudes of `count` units together, none of which reaches from one row to the next.
fn merged(units: &[u32], per_row: usize, count: usize) -> Option<Vec<u32>> {
    let rows = units.chunks(per_row);
    rows.flat_map(|row| row.chunks(count).map(common)).collect()
}

/// Runs of rows of one magnitude, and those magnitudes; `None` if there are too many. Rows of zeros
/// belong to the run before them.
fn segments(rows: &[u32]) -> Option<(Vec<usize>, Vec<u32>)> {
    let (mut lengths, mut magnitudes): (Vec<usize>, Vec<u32>) = (Vec::new(), Vec::new());
    for &row in rows {
        let (Some(length), Some(open)) = (lengths.last_mut(), magnitudes.last_mut()) else {
            lengths.push(1);
            magnitudes.push(row);
            continue;
        };
        if [*open, NO_MAGNITUDE].contains(&row) || *open == NO_MAGNITUDE {
            *length += 1;
            // The first rows may be zeros.
            *open = row.max(*open);
            continue;
        }
        if lengths.len() == MAX_FOUND_SEGMENTS {
            return None;
        }
        lengths.push(1);
        magnitudes.push(row);
    }
    Some((lengths, magnitudes))
}

/// Scales of magnitudes: where there is none, the one before, or behind it.
fn fill(magnitudes: Vec<u32>) -> Vec<f32> {
    let first = magnitudes.iter().find(|&&bits| bits != NO_MAGNITUDE);
    let mut last = first.copied().unwrap_or(1.0_f32.to_bits());
    let filled = magnitudes.into_iter().map(|bits| {
        if bits != NO_MAGNITUDE {
            last = bits;
        }
        f32::from_bits(last)
    });
    filled.collect()
}
