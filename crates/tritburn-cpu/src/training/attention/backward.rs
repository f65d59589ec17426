//! Gradients of a sequence and a key head.

use super::super::rows::exponentials;
use super::product::{Left, Output, Panels, product};
use super::{Plane, QUERIES};
use crate::lm::attention::tile::ROWS;
use crate::lm::norm::dot;
use crate::lm::vector::{LANES, Lanes, Work};
use crate::parallel::OutPtr;

/// Operands, as [`sequence_attention_backward`](super::sequence_attention_backward) describes them.
pub(super) struct Job<'a> {
    pub plane: Plane,
    pub qkv: &'a [f32],
    pub out: &'a [f32],
    pub statistics: &'a [f32],
    pub d_out: &'a [f32],
    pub scale: f32,
    pub d_qkv: OutPtr<f32>,
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

/// Rows of a block, both as the left and as the right side of a product.
struct Block {
    rows: Vec<f32>,
    panels: Panels,
    dim: usize,
}

impl Block {
    fn new(dim: usize, vectors: usize) -> Self {
        Self {
            rows: vec![0.0; QUERIES * dim],
            panels: Panels::new(QUERIES, dim, vectors),
            dim,
        }
    }

    #[inline(always)]
    fn set_row(&mut self, row: usize, from: &[f32]) {
        self.rows[row * self.dim..][..self.dim].copy_from_slice(from);
        self.panels.set_row(row, from);
    }

    #[inline(always)]
    fn left(&self) -> Left<'_> {
        Left {
            floats: &self.rows,
            row: self.dim,
            step: 1,
        }
    }
}

impl Job<'_> {
    /// All of it, in panels of `N` vectors.
    ///
    /// # Safety
    /// The set is available and no other task works on the plane.
    #[inline(always)]
    unsafe fn compute<L: Lanes, const N: usize>(self) {
        let Self {
            plane, qkv, scale, ..
        } = self;
        let (length, heads) = (plane.sequences.length, plane.sequences.heads);
        let dim = heads.dim();
        let mut keys = Panels::new(length, dim, N);
        let mut keys_transposed = Panels::new(dim, length, N);
        let mut values_transposed = Panels::new(dim, length, N);
        for token in 0..length {
            let key = &qkv[plane.key(token)..][..dim];
            keys.set_row(token, key);
            keys_transposed.set_column(token, key);
            values_transposed.set_column(token, &qkv[plane.value(token)..][..dim]);
        }
        let row = length.next_multiple_of(N * LANES);
        let dim_row = dim.next_multiple_of(N * LANES);
        let (mut queries, mut d_out) = (Block::new(dim, N), Block::new(dim, N));
        let (mut weights, mut d_scores) = (vec![0.0; QUERIES * row], vec![0.0; QUERIES * row]);
        let mut d_queries = vec![0.0; QUERIES * dim_row];
        let tokens = length.next_multiple_of(ROWS);
        let (mut d_keys, mut d_values) = (vec![0.0; tokens * dim_row], vec![0.0; tokens * dim_row]);
        for g in 0..heads.group() {
            for first in (0..length).step_by(QUERIES) {
                let count = QUERIES.min(length - first);
                for i in 0..count {
                    let at = plane.query(first + i, g, heads.qkv_width());
                    queries.set_row(i, &qkv[at..][..dim]);
                    let at = plane.query(first + i, g, heads.query_width());
                    d_out.set_row(i, &self.d_out[at..][..dim]);
                }
                let seen = plane.sequences.seen(first + count - 1);
                let scores = [count, dim, seen];
                // SAFETY: the set is available, panels have N vectors.
                unsafe {
                    let (q, k) = (queries.left(), &keys_transposed);
                    product::<L, N>(q, k, scores, &mut weights, row, Output::Write);
                    let (d, v) = (d_out.left(), &values_transposed);
                    product::<L, N>(d, v, scores, &mut d_scores, row, Output::Write);
                }
                let rows = weights
                    .chunks_exact_mut(row)
                    .zip(d_scores.chunks_exact_mut(row));
                for (i, (weights, d_scores)) in rows.take(count).enumerate() {
                    let token = first + i;
                    let (weights, hidden) = weights.split_at_mut(plane.sequences.seen(token));
                    let (d_scores, d_hidden) = d_scores.split_at_mut(plane.sequences.seen(token));
                    let statistic = self.statistics[plane.statistic(token, g)];
                    // SAFETY: the set is available.
                    unsafe { exponentials::<L>(weights, scale, statistic) };
                    let at = plane.query(token, g, heads.query_width());
                    let delta = dot(&self.d_out[at..][..dim], &self.out[at..][..dim]);
                    for (d, weight) in d_scores.iter_mut().zip(&*weights) {
                        *d = scale * weight * (*d - delta);
                    }
                    hidden.fill(0.0);
                    d_hidden.fill(0.0);
                }
                let by_row = |floats| Left {
                    floats,
                    row,
                    step: 1,
                };
                let by_column = |floats| Left {
                    floats,
                    row: 1,
                    step: row,
                };
                // SAFETY: the set is available, panels have N vectors.
                unsafe {
                    let shape = [count, seen, dim];
                    let (d, c) = (by_row(&d_scores), &mut d_queries);
                    product::<L, N>(d, &keys, shape, c, dim_row, Output::Write);
                    let shape = [seen, count, dim];
                    let (p, c) = (by_column(&weights), &mut d_values);
                    product::<L, N>(p, &d_out.panels, shape, c, dim_row, Output::Add);
                    let (d, c) = (by_column(&d_scores), &mut d_keys);
                    product::<L, N>(d, &queries.panels, shape, c, dim_row, Output::Add);
                }
                for (i, from) in d_queries.chunks_exact(dim_row).take(count).enumerate() {
                    let at = plane.query(first + i, g, heads.qkv_width());
                    // SAFETY: the plane's own queries.
                    let to = unsafe { self.d_qkv.slice(at, dim) };
                    to.copy_from_slice(&from[..dim]);
                }
            }
        }
        let rows = d_keys
            .chunks_exact(dim_row)
            .zip(d_values.chunks_exact(dim_row));
        for (token, (d_key, d_value)) in rows.take(length).enumerate() {
            // SAFETY: the plane's own keys and values.
            unsafe {
                let key = self.d_qkv.slice(plane.key(token), dim);
                key.copy_from_slice(&d_key[..dim]);
                let value = self.d_qkv.slice(plane.value(token), dim);
                value.copy_from_slice(&d_value[..dim]);
            }
        }
    }
}
