//! One token at a time. The queries that share a key head pass over its keys and values together,
//! each of which is read once; long contexts are cut into pieces whose results are merged.

use std::ops::Range;

use super::super::element::Element;
use super::super::operands::KvView;
use super::super::vector::{self, LANES, Lanes, Work};
use super::AttentionJob;
use crate::isa::Isa;
use crate::parallel::{self, OutPtr};

/// Positions of a piece. Fixed, so that results do not depend on the number of threads.
const PIECE: usize = 256;
/// Positions whose scores are computed before their values are read.
const BLOCK: usize = 64;
/// Queries of a tile.
const QUERIES: usize = 4;
/// Prefetch distance: how far ahead of the keys in use the next ones are prefetched.
const PREFETCH_BYTES: usize = 2048;

/// Computes the outputs of some tokens, whose heads are whole vectors.
pub(super) fn run<E: Element>(isa: Isa, job: &AttentionJob<'_, E>, tokens: &[usize]) {
    let heads = job.cache.heads;
    let mut pieces = Vec::new();
    for &token in tokens {
        let count = job.tokens.position(token) + 1;
        for head in 0..heads.kv() {
            for first in (0..count).step_by(PIECE) {
                pieces.push((token, head, first, (first + PIECE).min(count)));
            }
        }
    }
    // Results of a piece: unnormalised outputs [group, D], then maxima [group], then sums [group].
    let stride = heads.group() * (heads.dim() + 2);
    let mut results = vec![0.0; pieces.len() * stride];
    let positions: usize = pieces.iter().map(|(_, _, first, end)| end - first).sum();
    let work = positions.saturating_mul(2 * heads.group() * heads.dim());
    let parallel = parallel::worth_it(work);
    let result = OutPtr::new(&mut results);
    parallel::for_ranges(parallel, pieces.len(), 1, usize::MAX, |range| {
        for index in range {
            let (token, head, first, end) = pieces[index];
            // SAFETY: each piece has its own results.
            let result = unsafe { result.slice(index * stride, stride) };
            let (out, ends) = result.split_at_mut(heads.group() * heads.dim());
            let (maxima, sums) = ends.split_at_mut(heads.group());
            let piece = Piece {
                queries: job.queries(token, head).0,
                cache: &job.cache,
                row: job.tokens.row(token),
                head,
                positions: first..end,
                scale: job.scale,
                out,
                maxima,
                sums,
            };
            // SAFETY: the set is available; operands are slices of matching lengths.
            unsafe { vector::run(isa, piece) };
        }
    });
    let mut index = 0;
    while index < pieces.len() {
        let (token, head, ..) = pieces[index];
        let same = |piece: &&(usize, usize, usize, usize)| (piece.0, piece.1) == (token, head);
        let count = pieces[index..].iter().take_while(same).count();
        let parts = &results[index * stride..][..count * stride];
        let (queries, at) = job.queries(token, head);
        // SAFETY: these queries' outputs, which nobody else writes.
        let out = unsafe { job.out.slice(at, queries.len()) };
        merge(parts, heads.group(), heads.dim(), out);
        index += count;
    }
}

/// Adds the pieces of a context up and normalises.
fn merge(parts: &[f32], group: usize, dim: usize, out: &mut [f32]) {
    for (query, out) in out.chunks_exact_mut(dim).enumerate() {
        let parts = || parts.chunks_exact(group * (dim + 2));
        let maximum = |part: &[f32]| part[group * dim + query];
        let top = parts().map(maximum).fold(f32::NEG_INFINITY, f32::max);
        let mut total = 0.0;
        out.fill(0.0);
        for part in parts() {
            let weight = (maximum(part) - top).exp2();
            total += part[group * (dim + 1) + query] * weight;
            for (out, part) in out.iter_mut().zip(&part[query * dim..][..dim]) {
                *out += part * weight;
            }
        }
        for out in out {
            *out /= total;
        }
    }
}

/// Some positions of one head for the queries that share it.
struct Piece<'a, E> {
    queries: &'a [f32],
    cache: &'a KvView<'a, E>,
    row: usize,
    head: usize,
    positions: Range<usize>,
    scale: f32,
    out: &'a mut [f32],
    maxima: &'a mut [f32],
    sums: &'a mut [f32],
}

impl<E: Element> Work for Piece<'_, E> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let dim = self.cache.heads.dim();
        self.maxima.fill(f32::NEG_INFINITY);
        self.sums.fill(0.0);
        self.out.fill(0.0);
        let mut places = [0; BLOCK];
        for first in self.positions.clone().step_by(BLOCK) {
            let count = BLOCK.min(self.positions.end - first);
            let mut done = 0;
            while done < count {
                let together = self.cache.places.together(first + done).min(count - done);
                let from = self.cache.places.of(self.row, self.head, first + done);
                for (at, place) in places[done..done + together].iter_mut().enumerate() {
                    *place = from + at * dim;
                }
                done += together;
            }
            let group = self.maxima.len();
            let mut first = 0;
            while first < group {
                let queries = match group - first {
                    1 => 1,
                    2 | 3 => 2,
                    _ => QUERIES,
                };
                let some = first * dim..(first + queries) * dim;
                let mut tile = Tile {
                    queries: &self.queries[some.clone()],
                    keys: self.cache.keys,
                    values: self.cache.values,
                    places: &places[..count],
                    dim,
                    scale: self.scale,
                    out: &mut self.out[some],
                    maxima: &mut self.maxima[first..first + queries],
                    sums: &mut self.sums[first..first + queries],
                };
                // SAFETY: the caller's promise.
                unsafe {
                    match queries {
                        1 => tile.add::<L, 1>(),
                        2 => tile.add::<L, 2>(),
                        _ => tile.add::<L, QUERIES>(),
                    }
                }
                first += queries;
            }
        }
    }
}

/// At most [`QUERIES`] queries and [`BLOCK`] positions.
struct Tile<'a, E> {
    queries: &'a [f32],
    keys: &'a [E],
    values: &'a [E],
    /// Where the keys, and the values, of each position begin.
    places: &'a [usize],
    dim: usize,
    scale: f32,
    out: &'a mut [f32],
    maxima: &'a mut [f32],
    sums: &'a mut [f32],
}

impl<E: Element> Tile<'_, E> {
    /// Adds the block to the outputs, maxima and sums of `Q` queries.
    ///
    /// # Safety
    /// The set is available.
    #[inline(always)]
    unsafe fn add<L: Lanes, const Q: usize>(&mut self) {
        let count = self.places.len();
        let mut scores = [[f32::NEG_INFINITY; BLOCK]; Q];
        let mut decay = [0.0; Q];
        // SAFETY: the caller's promise; a block has at most as many scores as a row of the array.
        unsafe {
            self.scores::<L, Q>(count, &mut scores);
            for q in 0..Q {
                let mut top = L::splat(f32::NEG_INFINITY);
                for at in (0..BLOCK).step_by(LANES) {
                    top = L::max(top, L::load(scores[q].as_ptr().add(at)));
                }
                let mut lanes = [0.0f32; LANES];
                L::store(top, lanes.as_mut_ptr());
                let top = lanes.into_iter().fold(self.maxima[q], f32::max);
                let offset = L::splat(top);
                let mut sum = L::splat(0.0);
                for at in (0..BLOCK).step_by(LANES) {
                    let score = scores[q].as_mut_ptr().add(at);
                    let weight = L::exp2(L::sub(L::load(score), offset));
                    sum = L::add(sum, weight);
                    L::store(weight, score);
                }
                decay[q] = (self.maxima[q] - top).exp2();
                self.maxima[q] = top;
                self.sums[q] = self.sums[q] * decay[q] + L::sum(sum);
            }
            let vectors = self.dim / LANES;
            let mut first = 0;
            while first < vectors {
                if L::WIDE && vectors - first >= 4 {
                    self.values::<L, Q, 4>(first, &scores, &decay);
                    first += 4;
                } else {
                    self.values::<L, Q, 1>(first, &scores, &decay);
                    first += 1;
                }
            }
        }
    }

    /// Scaled products of the queries with `count` keys.
    ///
    /// # Safety
    /// The set is available.
    #[inline(always)]
    unsafe fn scores<L: Lanes, const Q: usize>(
        &self,
        count: usize,
        scores: &mut [[f32; BLOCK]; Q],
    ) {
        const KEYS: usize = 4;
        for first in (0..count).step_by(KEYS) {
            // SAFETY: positions past the last are read as the last, heads are whole vectors.
            unsafe {
                let mut keys = [self.keys.as_ptr(); KEYS];
                for (i, key) in keys.iter_mut().enumerate() {
                    *key = key.add(self.places[(first + i).min(count - 1)]);
                    let ahead = key.cast::<u8>().wrapping_add(PREFETCH_BYTES);
                    for line in (0..self.dim * size_of::<E>()).step_by(64) {
                        L::prefetch(ahead.wrapping_add(line));
                    }
                }
                let mut sums = [[L::splat(0.0); KEYS]; Q];
                for at in (0..self.dim).step_by(LANES) {
                    let mut key = [L::splat(0.0); KEYS];
                    for i in 0..KEYS {
                        key[i] = vector::load::<L, E>(keys[i].add(at));
                    }
                    for q in 0..Q {
                        let query = L::load(self.queries.as_ptr().add(q * self.dim + at));
                        for i in 0..KEYS {
                            sums[q][i] = L::fma(query, key[i], sums[q][i]);
                        }
                    }
                }
                for q in 0..Q {
                    let sums = L::sum4(sums[q]);
                    for i in 0..KEYS.min(count - first) {
                        scores[q][first + i] = sums[i] * self.scale;
                    }
                }
            }
        }
    }

    /// Adds the weighted values to `N` vectors of the outputs.
    ///
    /// # Safety
    /// The set is available and the vectors are inside a head.
    #[inline(always)]
    unsafe fn values<L: Lanes, const Q: usize, const N: usize>(
        &mut self,
        first: usize,
        weights: &[[f32; BLOCK]; Q],
        decay: &[f32; Q],
    ) {
        // SAFETY: the caller's promise; `dim` floats begin at each place.
        unsafe {
            let out = self.out.as_mut_ptr().add(first * LANES);
            let values = self.values.as_ptr();
            let mut sums = [[L::splat(0.0); N]; Q];
            for q in 0..Q {
                for n in 0..N {
                    let old = L::load(out.add(q * self.dim + n * LANES));
                    sums[q][n] = L::mul(old, L::splat(decay[q]));
                }
            }
            for (at, &place) in self.places.iter().enumerate() {
                let mut value = [L::splat(0.0); N];
                for n in 0..N {
                    value[n] = vector::load::<L, E>(values.add(place + (first + n) * LANES));
                }
                for q in 0..Q {
                    let weight = L::splat(weights[q][at]);
                    for n in 0..N {
                        sums[q][n] = L::fma(weight, value[n], sums[q][n]);
                    }
                }
            }
            for q in 0..Q {
                for n in 0..N {
                    L::store(sums[q][n], out.add(q * self.dim + n * LANES));
                }
            }
        }
    }
}
