//! Rotary position embedding, and the cache it fills.

use std::ops::Range;

use super::element::Element;
use super::operands::{Heads, KvViewMut, Places, TokenView};
use super::vector::{self, Lanes, Work};
use crate::error::{CpuError, area, expect_len};
use crate::isa::Isa;
use crate::parallel::{self, OutPtr};

/// Cosines and sines of positions `0..max_positions` for heads of `dim` floats,
/// `[max_positions, dim]`: in each row `dim / 2` cosines, then as many sines.
///
/// All arithmetic is f32, as in transformers: `angle = position · (1 / theta^(2i / dim))`.
///
/// # Errors
/// [`CpuError::TooLarge`] if the table cannot be addressed, [`CpuError::Heads`] if `dim` is zero or
/// odd.
pub fn rotary_table(theta: f32, dim: usize, max_positions: usize) -> Result<Vec<f32>, CpuError> {
    Heads::new(1, 1, dim)?;
    let mut table = vec![0.0; area(max_positions, dim)?];
    let half = dim / 2;
    let frequencies: Vec<f32> = (0..half)
        .map(|i| 1.0 / theta.powf((2 * i) as f32 / dim as f32))
        .collect();
    for (position, row) in table.chunks_exact_mut(dim).enumerate() {
        let (cos, sin) = row.split_at_mut(half);
        for ((cos, sin), frequency) in cos.iter_mut().zip(sin).zip(&frequencies) {
            (*sin, *cos) = (position as f32 * frequency).sin_cos();
        }
    }
    Ok(table)
}

/// Rotates queries and keys of `qkv` `[T, (Hq + 2·Hkv)·D]` and stores keys and values.
///
/// Token t turns by row `positions[t]` of `table` `[.., D]`, `D/2` cosines and then as many sines,
/// which pair float i of a head with float `i + D/2`: `(a·cos - b·sin, b·cos + a·sin)`. Queries go to
/// `q` `[T, Hq·D]`;
/// keys and values to `cache` at `[rows[t], head, positions[t]]`, rounded to its type. Where two
/// tokens stand at one place, the later one is stored.
///
/// # Errors
/// [`CpuError::Length`] if a slice does not fit, [`CpuError::Index`] if a token stands outside the
/// cache or the table.
pub fn rotary_append<E: Element>(
    qkv: &[f32],
    tokens: TokenView<'_>,
    table: &[f32],
    q: &mut [f32],
    cache: KvViewMut<'_, E>,
) -> Result<(), CpuError> {
    rotary_append_with(Isa::detect(), qkv, tokens, table, q, cache)
}

/// [`rotary_append`] on a given instruction set; all give the same bits.
///
/// # Errors
/// Those of [`rotary_append`], and [`CpuError::Unavailable`].
pub fn rotary_append_with<E: Element>(
    isa: Isa,
    qkv: &[f32],
    tokens: TokenView<'_>,
    table: &[f32],
    q: &mut [f32],
    cache: KvViewMut<'_, E>,
) -> Result<(), CpuError> {
    isa.require()?;
    let heads = cache.heads;
    expect_len("qkv", qkv.len(), area(tokens.len(), heads.qkv_width())?)?;
    expect_len("q", q.len(), area(tokens.len(), heads.query_width())?)?;
    let positions = table.len() / heads.dim();
    expect_len("table", table.len(), positions * heads.dim())?;
    tokens.check(cache.places.batch(), cache.places.capacity().min(positions))?;

    let job = RotaryJob {
        qkv,
        tokens,
        table,
        heads,
        places: cache.places,
        q: OutPtr::new(q),
        keys: OutPtr::new(cache.keys),
        values: OutPtr::new(cache.values),
    };
    E::rotary(isa, job);
    Ok(())
}

/// Checked operands.
pub struct RotaryJob<'a, E> {
    qkv: &'a [f32],
    tokens: TokenView<'a>,
    table: &'a [f32],
    heads: Heads,
    places: Places<'a>,
    q: OutPtr<f32>,
    keys: OutPtr<E>,
    values: OutPtr<E>,
}

impl<E: Element> RotaryJob<'_, E> {
    pub(super) fn run(self, isa: Isa) {
        let job = &self;
        // An element takes about as long as eight multiply-adds of a product.
        let parallel = parallel::worth_it(self.qkv.len().saturating_mul(8));
        parallel::for_ranges(parallel, self.tokens.len(), 1, usize::MAX, |tokens| {
            // SAFETY: the set is available, the tokens are in range, and each is one task's.
            unsafe { vector::run(isa, Queries { job, tokens }) };
        });
        // A task per key head and value head: however tokens collide, two tasks never do.
        parallel::for_ranges(parallel, 2 * self.heads.kv(), 1, 1, |heads| {
            // SAFETY: the set is available, the tokens are inside the cache, and each head is one
            // task's.
            unsafe { vector::run(isa, Append { job, heads }) };
        });
    }

    /// Head `index` of a token, counted over queries, keys and values.
    #[inline(always)]
    fn head(&self, token: usize, index: usize) -> &[f32] {
        let dim = self.heads.dim();
        &self.qkv[token * self.heads.qkv_width() + index * dim..][..dim]
    }

    /// Turns a head of a token.
    #[inline(always)]
    fn rotate(&self, token: usize, head: &[f32], out: &mut [f32]) {
        let dim = self.heads.dim();
        let half = dim / 2;
        let (cos, sin) = self.table[self.tokens.position(token) * dim..][..dim].split_at(half);
        let (a, b) = head[..dim].split_at(half);
        let (left, right) = out[..dim].split_at_mut(half);
        for i in 0..half {
            left[i] = a[i] * cos[i] - b[i] * sin[i];
            right[i] = b[i] * cos[i] + a[i] * sin[i];
        }
    }
}

/// Turns the queries of some tokens. No two tasks may share a token.
struct Queries<'a, E> {
    job: &'a RotaryJob<'a, E>,
    tokens: Range<usize>,
}

impl<E: Element> Work for Queries<'_, E> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let job = self.job;
        let dim = job.heads.dim();
        for token in self.tokens {
            for head in 0..job.heads.query() {
                let at = token * job.heads.query_width() + head * dim;
                // SAFETY: `q` has a row for each token, and the token is this task's own.
                let out = unsafe { job.q.slice(at, dim) };
                job.rotate(token, job.head(token, head), out);
            }
        }
    }
}

/// Stores some heads, keys first, then values. No two tasks may share a head.
struct Append<'a, E> {
    job: &'a RotaryJob<'a, E>,
    heads: Range<usize>,
}

impl<E: Element> Work for Append<'_, E> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let job = self.job;
        let (dim, kv) = (job.heads.dim(), job.heads.kv());
        let mut turned = vec![0.0; dim];
        for head in self.heads {
            for token in 0..job.tokens.len() {
                let (row, position) = (job.tokens.row(token), job.tokens.position(token));
                let at = job.places.of(row, head % kv, position);
                let from = job.head(token, job.heads.query() + head);
                // SAFETY: rows and positions were checked against the cache, and the head is this
                // task's own.
                unsafe {
                    if head < kv {
                        job.rotate(token, from, &mut turned);
                        vector::narrow::<L, E>(&turned, job.keys.slice(at, dim));
                    } else {
                        vector::narrow::<L, E>(from, job.values.slice(at, dim));
                    }
                }
            }
        }
    }
}
