//! Outputs of a sequence and a key head.

use std::ops::Range;

use super::super::rows::{exponentials, largest};
use super::product::{Left, Output, Panels, product};
use super::{Plane, QUERIES};
use crate::lm::vector::{LANES, Lanes, Work};
use crate::parallel::OutPtr;

/// Operands, as [`sequence_attention`](super::sequence_attention) describes them.
pub(super) struct Job<'a> {
    pub plane: Plane,
    /// Query heads of the plane.
    pub group: Range<usize>,
    pub qkv: &'a [f32],
    pub scale: f32,
    pub out: OutPtr<f32>,
    pub statistics: OutPtr<f32>,
}

impl Work for Job<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        // SAFETY: the caller's promise.
        unsafe {
            match L::WIDE {
                true => self.compute::<L, 2>(),
                false => self.compute::<L, 1>(),
            }
        }
    }
}

impl Job<'_> {
    /// All of it, in panels of `N` vectors.
    ///
    /// # Safety
    /// The set is available and no other task works on these query heads of the plane.
    #[inline(always)]
    unsafe fn compute<L: Lanes, const N: usize>(self) {
        let Self {
            plane,
            ref group,
            qkv,
            scale,
            ..
        } = self;
        let (length, heads) = (plane.sequences.length, plane.sequences.heads);
        let dim = heads.dim();
        let mut keys = Panels::new(dim, length, N);
        let mut values = Panels::new(length, dim, N);
        for token in 0..length {
            keys.set_column(token, &qkv[plane.key(token)..][..dim]);
            values.set_row(token, &qkv[plane.value(token)..][..dim]);
        }
        let row = length.next_multiple_of(N * LANES);
        let out_row = dim.next_multiple_of(N * LANES);
        let mut queries = vec![0.0; QUERIES * dim];
        let mut scores = vec![0.0; QUERIES * row];
        let mut out = vec![0.0; QUERIES * out_row];
        for g in group.clone() {
            for first in (0..length).step_by(QUERIES) {
                let count = QUERIES.min(length - first);
                for (token, query) in (first..first + count).zip(queries.chunks_exact_mut(dim)) {
                    let at = plane.query(token, g, heads.qkv_width());
                    query.copy_from_slice(&qkv[at..][..dim]);
                }
                let seen = plane.sequences.seen(first + count - 1);
                let left = Left {
                    floats: &queries,
                    row: dim,
                    step: 1,
                };
                let shape = [count, dim, seen];
                // SAFETY: the set is available, panels have N vectors.
                unsafe { product::<L, N>(left, &keys, shape, &mut scores, row, Output::Write) };
                let mut sums = [0.0; QUERIES];
                for (i, weights) in scores.chunks_exact_mut(row).take(count).enumerate() {
                    let token = first + i;
                    let (weights, hidden) = weights.split_at_mut(plane.sequences.seen(token));
                    let top = scale * largest(weights);
                    // SAFETY: the set is available; the statistic is this task's own.
                    unsafe {
                        sums[i] = exponentials::<L>(weights, scale, top);
                        let at = plane.statistic(token, g);
                        self.statistics.write(at, top + sums[i].ln());
                    }
                    hidden.fill(0.0);
                }
                let left = Left {
                    floats: &scores,
                    row,
                    step: 1,
                };
                let shape = [count, seen, dim];
                // SAFETY: the set is available, panels have N vectors.
                unsafe { product::<L, N>(left, &values, shape, &mut out, out_row, Output::Write) };
                for (i, from) in out.chunks_exact(out_row).take(count).enumerate() {
                    let at = plane.query(first + i, g, heads.query_width());
                    // SAFETY: the task's own queries.
                    let to = unsafe { self.out.slice(at, dim) };
                    for (to, from) in to.iter_mut().zip(from) {
                        *to = from / sums[i];
                    }
                }
            }
        }
    }
}
