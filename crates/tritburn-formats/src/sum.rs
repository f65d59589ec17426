//! The one summation order of `mean|W|`, shared bit for bit by CPU code and GPU kernels.
//!
//! f32 addition is not associative, so a scale is only the same on every device if the order is.
//! The sum of a contiguous segment `x[0..n]`:
//!
//! 1. Split it in blocks of [`BLOCK`] elements; the last may be shorter.
//! 2. In a block, lane `l` of [`LANES`] starts at +0.0 and adds `|x[l]|`, `|x[l + 32]|`,
//!    `|x[l + 64]|`, … in this order. Elements past the end count as +0.0 (or are skipped: a lane
//!    never holds -0.0, so both give the same bits).
//! 3. The lanes fold by halves: for `step` in 16, 8, 4, 2, 1, `lane[i] += lane[i + step]` for
//!    `i < step`. `lane[0]` is the block's partial.
//! 4. If there was more than one block, the partials are the next segment: repeat from 1 until one
//!    value is left. (`|·|` changes nothing there.)
//!
//! Every addition is one f32 addition, rounded to nearest even; no fused multiply-add, no wider
//! accumulator. The empty sum is +0.0. NaN and infinity propagate.
//!
//! A segment is what shares one scale: the whole matrix, row-major
//! ([`Tensor`](crate::ScaleGranularity::Tensor)); a row; the slice of a row that is one group; or
//! the rows of one segment, flattened.

use rayon::prelude::*;

use crate::simd::multiversion;

/// Elements of one block.
pub const BLOCK: usize = 1024;

/// Lanes of one block: lane `l` adds the elements `l`, `l + 32`, `l + 64`, ….
pub const LANES: usize = 32;

/// Blocks handled by one task; also the size from which a sum is worth splitting.
const BLOCKS_PER_TASK: usize = 64;

/// `Σ|x|` in the order given in the [module](self) docs.
#[doc(hidden)]
pub fn abs_sum(x: &[f32]) -> f32 {
    if x.len() <= BLOCK {
        return block_sum(x);
    }
    let mut partials = vec![0.0; x.len().div_ceil(BLOCK)];
    if partials.len() < 2 * BLOCKS_PER_TASK {
        block_sums(x, &mut partials);
    } else {
        x.par_chunks(BLOCK * BLOCKS_PER_TASK)
            .zip(partials.par_chunks_mut(BLOCKS_PER_TASK))
            .for_each(|(x, partials)| block_sums(x, partials));
    }
    abs_sum(&partials)
}

/// `mean|x|`: [`abs_sum`] divided by the length, as f32 (rounded to nearest even from 2²⁴ on).
/// The mean of nothing is NaN.
pub fn abs_mean(x: &[f32]) -> f32 {
    abs_sum(x) / x.len() as f32
}

fn block_sum(x: &[f32]) -> f32 {
    let mut partial = [0.0];
    if !x.is_empty() {
        block_sums(x, &mut partial);
    }
    partial[0]
}

multiversion! {
    /// One partial for each block of `x`.
    fn block_sums(x: &[f32], partials: &mut [f32]) = block_sums_generic;
}

#[inline(always)]
fn block_sums_generic(x: &[f32], partials: &mut [f32]) {
    for (block, partial) in x.chunks(BLOCK).zip(partials) {
        let mut lanes = [0.0f32; LANES];
        let (full, rest) = block.as_chunks::<LANES>();
        for chunk in full {
            for (lane, v) in lanes.iter_mut().zip(chunk) {
                *lane += v.abs();
            }
        }
        for (lane, v) in lanes.iter_mut().zip(rest) {
            *lane += v.abs();
        }
        let mut step = LANES / 2;
        while step > 0 {
            for i in 0..step {
                lanes[i] += lanes[i + step];
            }
            step /= 2;
        }
        *partial = lanes[0];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_sums_to_the_same_bits() {
        let x: Vec<f32> = (0..5 * BLOCK + 77)
            .map(|i| (i as f32 * 0.7).sin() / 3.0)
            .collect();
        let mut partials = [[0.0; 6]; 2];
        block_sums(&x, &mut partials[0]);
        block_sums_generic(&x, &mut partials[1]);
        assert_eq!(partials[0].map(f32::to_bits), partials[1].map(f32::to_bits));
    }
}
