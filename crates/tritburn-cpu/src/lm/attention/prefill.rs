//! Many tokens in a row: flash attention in f32.
//!
//! A task takes a block of queries that share a key head, as columns: scores are computed
//! transposed, `[key, query]`, so that keys need no transposing, maxima and sums run down the
//! columns without a horizontal step, and both products are the same tile: rows of broadcast
//! floats times vectors.

use std::ops::Range;

use rayon::prelude::*;

use super::super::element::Element;
use super::super::vector::{self, LANES, Lanes, Work};
use super::AttentionJob;
use super::tile::{Broadcast, ROWS, tile};
use crate::isa::Isa;
use crate::parallel;

/// Query rows of a block, tokens times heads of a group.
const QUERIES: usize = 128;
/// Keys of a block.
const KEYS: usize = 64;

/// Computes the outputs of runs of tokens.
pub(super) fn run<E: Element>(isa: Isa, job: &AttentionJob<'_, E>, runs: &[Range<usize>]) {
    let heads = job.cache.heads;
    let step = (QUERIES / heads.group()).max(1);
    let mut blocks = Vec::new();
    let mut work = 0usize;
    for run in runs {
        for first in run.clone().step_by(step) {
            let tokens = first..(first + step).min(run.end);
            let seen = job.tokens.position(tokens.end - 1) + 1;
            work = work.saturating_add(seen.saturating_mul(tokens.len() * heads.query_width()));
            blocks.extend((0..heads.kv()).map(|head| (seen, tokens.clone(), head)));
        }
    }
    // Long blocks come first, so that no thread is left with a long one at the end.
    blocks.sort_by_key(|block| std::cmp::Reverse(block.0));
    let body = |scratch: &mut Vec<f32>, (_, tokens, head): &(usize, Range<usize>, usize)| {
        let block = Block {
            job,
            tokens: tokens.clone(),
            head: *head,
            scratch,
        };
        // SAFETY: the set is available; blocks own their tokens' queries of a head.
        unsafe { vector::run(isa, block) };
    };
    if parallel::worth_it(work) {
        blocks
            .par_iter()
            .with_max_len(1)
            .for_each_init(Vec::new, body);
    } else {
        let mut scratch = Vec::new();
        blocks.iter().for_each(|block| body(&mut scratch, block));
    }
}

/// Tokens of a run, and a key head. No two blocks may share both.
struct Block<'a, E> {
    job: &'a AttentionJob<'a, E>,
    tokens: Range<usize>,
    head: usize,
    scratch: &'a mut Vec<f32>,
}

impl<E: Element> Work for Block<'_, E> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        // SAFETY: the caller's promise.
        unsafe {
            match L::WIDE {
                true => self.compute::<L, 4>(),
                false => self.compute::<L, 1>(),
            }
        }
    }
}

/// Sizes of a block.
#[derive(Clone, Copy)]
struct Shape {
    /// Query heads of a token.
    group: usize,
    /// Floats of a head.
    dim: usize,
    /// Panels of rows.
    row_panels: usize,
    /// Panels of a head.
    head_panels: usize,
}

/// Cuts `len` floats off.
fn take<'a>(rest: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let (taken, left) = std::mem::take(rest).split_at_mut(len);
    *rest = left;
    taken
}

impl<E: Element> Block<'_, E> {
    /// All of it, in panels of `N` vectors.
    ///
    /// # Safety
    /// The set is available and no other task writes these outputs.
    #[inline(always)]
    unsafe fn compute<L: Lanes, const N: usize>(self) {
        let heads = self.job.cache.heads;
        let panel = N * LANES;
        let rows = self.tokens.len() * heads.group();
        let shape = Shape {
            group: heads.group(),
            dim: heads.dim(),
            row_panels: rows.div_ceil(panel),
            head_panels: heads.dim().div_ceil(panel),
        };
        let padded_rows = shape.row_panels * panel;
        let padded_dim = shape.head_panels * panel;
        let sizes = [
            padded_rows * shape.dim,
            KEYS * shape.dim,
            KEYS * padded_dim,
            KEYS * padded_rows,
            padded_rows * padded_dim,
            padded_rows,
            padded_rows,
            padded_rows,
            padded_rows,
        ];
        let total = sizes.iter().sum();
        if self.scratch.len() < total {
            self.scratch.resize(total, 0.0);
        }
        let mut rest = &mut self.scratch[..];
        let [
            queries,
            keys,
            values,
            scores,
            out,
            maxima,
            sums,
            decay,
            limits,
        ] = sizes.map(|len| take(&mut rest, len));
        // What an earlier block left elsewhere is either written over or ends in padding.
        maxima.fill(f32::NEG_INFINITY);
        sums.fill(0.0);
        out.fill(0.0);

        let first_position = self.job.tokens.position(self.tokens.start);
        let last_position = first_position + self.tokens.len() - 1;
        // The last key that a row sees; rows of padding see what the last row does.
        let seen = |row: usize| first_position + row.min(rows - 1) / shape.group;
        for (token, row) in self.tokens.clone().zip((0..).step_by(shape.group)) {
            let (all, _) = self.job.queries(token, self.head);
            for (g, query) in all.chunks_exact(shape.dim).enumerate() {
                let (at, lane) = ((row + g) / panel, (row + g) % panel);
                let column = &mut queries[at * shape.dim * panel + lane..];
                for (to, from) in column.iter_mut().step_by(panel).zip(query) {
                    *to = from * self.job.scale;
                }
            }
        }
        let cache = &self.job.cache;
        let row = self.job.tokens.row(self.tokens.start);

        for first in (0..=last_position).step_by(KEYS) {
            let count = KEYS.min(last_position + 1 - first);
            // SAFETY: the set is available; buffers have the sizes above.
            unsafe {
                let mut done = 0;
                while done < count {
                    let together = cache.places.together(first + done).min(count - done);
                    let from = cache.places.of(row, self.head, first + done);
                    let range = from..from + together * shape.dim;
                    let to = &mut keys[done * shape.dim..][..range.len()];
                    vector::widen::<L, E>(&cache.keys[range.clone()], to);
                    for (at, value) in cache.values[range].chunks_exact(shape.dim).enumerate() {
                        let line = (done + at) * panel;
                        for (p, part) in value.chunks(panel).enumerate() {
                            let to = &mut values[p * KEYS * panel + line..][..part.len()];
                            vector::widen::<L, E>(part, to);
                        }
                    }
                    done += together;
                }
                for p in 0..shape.row_panels {
                    // Keys of this block that some row of the panel sees.
                    let used = (seen((p + 1) * panel - 1) + 1)
                        .saturating_sub(first)
                        .min(count);
                    if used == 0 {
                        continue;
                    }
                    let scores = &mut scores[p * KEYS * panel..][..KEYS * panel];
                    let queries = &queries[p * shape.dim * panel..][..shape.dim * panel];
                    for key in (0..used).step_by(ROWS) {
                        tile::<L, N>(
                            Broadcast {
                                at: keys[key * shape.dim..].as_ptr(),
                                row: shape.dim,
                                step: 1,
                            },
                            queries.as_ptr(),
                            shape.dim,
                            None,
                            scores[key * panel..].as_mut_ptr(),
                            panel,
                        );
                    }
                    for lane in (0..panel).step_by(LANES) {
                        let row = p * panel + lane;
                        let used = (seen(row + LANES - 1) + 1).saturating_sub(first).min(count);
                        let all = (seen(row) + 1).saturating_sub(first) >= used;
                        if !all {
                            for (i, limit) in limits[row..row + LANES].iter_mut().enumerate() {
                                *limit = seen(row + i) as f32 - first as f32;
                            }
                        }
                        let column = Column {
                            scores: scores[lane..].as_mut_ptr(),
                            stride: panel,
                            used,
                            maxima: maxima[row..].as_mut_ptr(),
                            sums: sums[row..].as_mut_ptr(),
                            decay: decay[row..].as_mut_ptr(),
                            limits: limits[row..].as_ptr(),
                        };
                        match all {
                            true => column.softmax::<L, false>(),
                            false => column.softmax::<L, true>(),
                        }
                    }
                    for lane in (0..panel).step_by(ROWS) {
                        let row = p * panel + lane;
                        let used = (seen(row + ROWS - 1) + 1).saturating_sub(first).min(count);
                        if used == 0 || row >= rows {
                            continue;
                        }
                        for h in 0..shape.head_panels {
                            tile::<L, N>(
                                Broadcast {
                                    at: scores[lane..].as_ptr(),
                                    row: 1,
                                    step: panel,
                                },
                                values[h * KEYS * panel..].as_ptr(),
                                used,
                                Some(decay[row..].as_ptr()),
                                out[row * padded_dim + h * panel..].as_mut_ptr(),
                                padded_dim,
                            );
                        }
                    }
                }
            }
        }
        for (token, row) in self.tokens.clone().zip((0..).step_by(shape.group)) {
            let (queries, at) = self.job.queries(token, self.head);
            // SAFETY: these queries' outputs, which no other block writes.
            let to = unsafe { self.job.out.slice(at, queries.len()) };
            for (g, to) in to.chunks_exact_mut(shape.dim).enumerate() {
                let row = row + g;
                let factor = 1.0 / sums[row];
                for (to, from) in to.iter_mut().zip(&out[row * padded_dim..]) {
                    *to = from * factor;
                }
            }
        }
    }
}

/// Scores of 16 rows, one key a line.
struct Column {
    scores: *mut f32,
    stride: usize,
    used: usize,
    maxima: *mut f32,
    sums: *mut f32,
    decay: *mut f32,
    limits: *const f32,
}

impl Column {
    /// Turns scores into weights and updates maxima and sums. With `MASK`, line i counts only in
    /// rows whose limit is at least i, and is zero elsewhere.
    ///
    /// # Safety
    /// The set is available and all pointers are valid for 16 rows.
    #[inline(always)]
    unsafe fn softmax<L: Lanes, const MASK: bool>(self) {
        // SAFETY: the caller's promise.
        unsafe {
            let limit = L::load(self.limits);
            let old = L::load(self.maxima);
            let mut top = old;
            for key in 0..self.used {
                let mut score = L::load(self.scores.add(key * self.stride));
                if MASK {
                    score = L::keep(limit, key as f32, score, L::splat(f32::NEG_INFINITY));
                }
                top = L::max(top, score);
            }
            let decay = L::exp2(L::sub(old, top));
            let mut sum = L::mul(L::load(self.sums), decay);
            for key in 0..self.used {
                let at = self.scores.add(key * self.stride);
                let mut weight = L::exp2(L::sub(L::load(at), top));
                if MASK {
                    weight = L::keep(limit, key as f32, weight, L::splat(0.0));
                }
                sum = L::add(sum, weight);
                L::store(weight, at);
            }
            L::store(top, self.maxima);
            L::store(sum, self.sums);
            L::store(decay, self.decay);
        }
    }
}
