//! Float activations times unpacked float weights.

use std::ops::Range;

use super::super::element::Element;
use super::super::vector::{self, LANES, Lanes, Work};
use crate::error::{CpuError, area, expect_len};
use crate::isa::Isa;
use crate::parallel::{self, OutPtr};

/// Weight rows of a task: while tokens pass over them they stay in the level-2 cache.
const TASK_ROWS: usize = 96;
/// Prefetch distance: how far ahead of the weights in use the next ones are prefetched.
const PREFETCH_BYTES: usize = 8192;

/// `y = x · Wᵀ` in f32 for x `[T, k]`, weights `[V, k]`, y `[T, V]`; T and V follow from the lengths
/// of `x` and `weights`.
///
/// Weights are read from memory once. The order of the sums depends on the instruction set and on
/// nothing else.
///
/// # Errors
/// [`CpuError::EmptyRow`] if `k` is zero, [`CpuError::Length`] if a slice does not fit.
pub fn dense_head<E: Element>(
    x: &[f32],
    weights: &[E],
    k: usize,
    y: &mut [f32],
) -> Result<(), CpuError> {
    dense_head_with(Isa::detect(), x, weights, k, y)
}

/// [`dense_head`] on a given instruction set.
///
/// # Errors
/// Those of [`dense_head`], and [`CpuError::Unavailable`].
pub fn dense_head_with<E: Element>(
    isa: Isa,
    x: &[f32],
    weights: &[E],
    k: usize,
    y: &mut [f32],
) -> Result<(), CpuError> {
    isa.require()?;
    let tokens = x.len().checked_div(k).ok_or(CpuError::EmptyRow)?;
    let outputs = weights.len() / k;
    expect_len("x", x.len(), tokens * k)?;
    expect_len("weights", weights.len(), outputs * k)?;
    expect_len("y", y.len(), area(tokens, outputs)?)?;
    let job = DenseJob {
        x,
        weights,
        k,
        outputs,
        tokens,
        y: OutPtr::new(y),
    };
    E::dense(isa, job);
    Ok(())
}

/// Checked operands.
pub struct DenseJob<'a, E> {
    x: &'a [f32],
    weights: &'a [E],
    k: usize,
    outputs: usize,
    tokens: usize,
    y: OutPtr<f32>,
}

impl<E: Element> DenseJob<'_, E> {
    pub(in super::super) fn run(self, isa: Isa) {
        let job = &self;
        // A weight takes about as long to read as two multiply-adds of a packed product.
        let work = self.weights.len().saturating_mul(self.tokens.max(2));
        let parallel = parallel::worth_it(work);
        parallel::for_ranges(parallel, self.outputs, MAX_ROWS, TASK_ROWS, |rows| {
            // SAFETY: the set is available, the ranges are inside the job, tasks own disjoint rows.
            unsafe { vector::run(isa, Rows { job, rows }) };
        });
    }
}

/// Weight rows of the tallest tile.
const MAX_ROWS: usize = 4;

/// Some outputs of all tokens. No two tasks may share an output.
struct Rows<'a, E> {
    job: &'a DenseJob<'a, E>,
    rows: Range<usize>,
}

impl<E: Element> Work for Rows<'_, E> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let (job, rows) = (self.job, self.rows);
        let mut token = 0;
        while token < job.tokens {
            let rows = rows.clone();
            let left = job.tokens - token;
            // SAFETY: the caller's promise.
            token += unsafe {
                match (L::WIDE, left) {
                    (true, 8..) => column::<L, E, 3, 8>(job, rows, token),
                    (true, 4..) => column::<L, E, 4, 4>(job, rows, token),
                    (true, 2..) => column::<L, E, 4, 2>(job, rows, token),
                    (true, _) => column::<L, E, 4, 1>(job, rows, token),
                    (false, 2..) => column::<L, E, 2, 2>(job, rows, token),
                    (false, _) => column::<L, E, 2, 1>(job, rows, token),
                }
            };
        }
    }
}

/// All `rows` for `T` tokens; returns T.
///
/// # Safety
/// The set is available, the ranges are inside the job, and no other task writes these outputs.
#[inline(always)]
unsafe fn column<L: Lanes, E: Element, const R: usize, const T: usize>(
    job: &DenseJob<'_, E>,
    rows: Range<usize>,
    token: usize,
) -> usize {
    let mut row = rows.start;
    // SAFETY: the caller's promise.
    unsafe {
        while row + R <= rows.end {
            tile::<L, E, R, T>(job, row, token);
            row += R;
        }
        while row < rows.end {
            tile::<L, E, 1, T>(job, row, token);
            row += 1;
        }
    }
    T
}

/// `R` outputs of `T` tokens.
///
/// # Safety
/// As [`column`].
#[inline(always)]
unsafe fn tile<L: Lanes, E: Element, const R: usize, const T: usize>(
    job: &DenseJob<'_, E>,
    row: usize,
    token: usize,
) {
    let k = job.k;
    let weights = job.weights[row * k..][..R * k].as_ptr();
    let x = job.x[token * k..][..T * k].as_ptr();
    // SAFETY: the slices above have `R` and `T` rows; whole steps end at or before `k`.
    unsafe {
        let mut sums = [[L::splat(0.0); T]; R];
        let whole = k / LANES * LANES;
        for at in (0..whole).step_by(LANES) {
            if at % (64 / size_of::<E>()) == 0 {
                for r in 0..R {
                    let ahead = (at * R * size_of::<E>()) + r * 64 + PREFETCH_BYTES;
                    L::prefetch(weights.cast::<u8>().wrapping_add(ahead));
                }
            }
            let mut inputs = [L::splat(0.0); T];
            for t in 0..T {
                inputs[t] = L::load(x.add(t * k + at));
            }
            for r in 0..R {
                let weight = vector::load::<L, E>(weights.add(r * k + at));
                for t in 0..T {
                    sums[r][t] = L::fma(weight, inputs[t], sums[r][t]);
                }
            }
        }
        if whole < k {
            let mut inputs = [L::splat(0.0); T];
            for t in 0..T {
                inputs[t] = vector::load_part::<L, f32>(x.add(t * k + whole), k - whole);
            }
            for r in 0..R {
                let weight = vector::load_part::<L, E>(weights.add(r * k + whole), k - whole);
                for t in 0..T {
                    sums[r][t] = L::fma(weight, inputs[t], sums[r][t]);
                }
            }
        }
        for t in 0..T {
            for r in 0..R {
                let at = (token + t) * job.outputs + row + r;
                job.y.write(at, L::sum(sums[r][t]));
            }
        }
    }
}
