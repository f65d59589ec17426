//! Helpers of the kernels of this folder: sums over tokens, and exponentials of rows.

use std::ops::Range;

use crate::lm::vector::{LANES, Lanes};
use crate::parallel::{self, OutPtr};

/// Tokens that are added up by one task.
const BLOCK: usize = 32;

/// Runs `block(tokens, sums)` on blocks of `tokens`, each with sums `[k]` of its own that start at
/// zero, and puts the total into `total` `[k]`, added in the order of the blocks.
pub(super) fn sum_over_tokens(
    parallel: bool,
    tokens: usize,
    total: &mut [f32],
    block: impl Fn(Range<usize>, &mut [f32]) + Sync,
) {
    let k = total.len();
    let blocks = tokens.div_ceil(BLOCK);
    let mut partial = vec![0.0; blocks * k];
    let sums = OutPtr::new(&mut partial);
    parallel::for_ranges(parallel, blocks, 1, usize::MAX, |range| {
        for at in range {
            // SAFETY: every block has its own line.
            let sums = unsafe { sums.slice(at * k, k) };
            block(at * BLOCK..((at + 1) * BLOCK).min(tokens), sums);
        }
    });
    total.fill(0.0);
    for line in partial.chunks_exact(k.max(1)) {
        for (total, sum) in total.iter_mut().zip(line) {
            *total += sum;
        }
    }
}

/// The largest element, or -∞; a NaN is passed over.
#[inline(always)]
pub(super) fn largest(row: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = row.as_chunks::<LANES>();
    for chunk in whole {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, value);
        }
    }
    let all = lanes.iter().chain(rest);
    all.fold(f32::NEG_INFINITY, |a, &b| larger(a, b))
}

/// Replaces `x` by `e^(x·scale - shift)` and returns the sum.
///
/// # Safety
/// The set is available.
#[inline(always)]
pub(super) unsafe fn exponentials<L: Lanes>(row: &mut [f32], scale: f32, shift: f32) -> f32 {
    use std::f32::consts::LOG2_E;
    let (whole, rest) = row.as_chunks_mut::<LANES>();
    // SAFETY: the caller has the set; chunks and `part` have 16 elements.
    unsafe {
        let (scale, shift) = (L::splat(scale * LOG2_E), L::splat(-shift * LOG2_E));
        let mut sum = L::splat(0.0);
        for chunk in whole {
            let power = L::exp2(L::fma(L::load(chunk.as_ptr()), scale, shift));
            sum = L::add(sum, power);
            L::store(power, chunk.as_mut_ptr());
        }
        let mut total = L::sum(sum);
        if !rest.is_empty() {
            let mut part = [0.0; LANES];
            part[..rest.len()].copy_from_slice(rest);
            let power = L::exp2(L::fma(L::load(part.as_ptr()), scale, shift));
            L::store(power, part.as_mut_ptr());
            rest.copy_from_slice(&part[..rest.len()]);
            total += rest.iter().sum::<f32>();
        }
        total
    }
}
