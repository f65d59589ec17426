//! Causal attention with grouped queries over a cache of keys and values.
//!
//! | file | what |
//! |---|---|
//! | `decode` | one token at a time: keys and values are read once, in pieces that run in parallel |
//! | `prefill` | many tokens in a row: blocks of queries against blocks of keys |
//! | `tile` | the product that the second one is made of |

mod decode;
mod prefill;
pub(crate) mod tile;

use std::ops::Range;

use super::element::Element;
use super::operands::{KvView, TokenView};
use super::vector::LANES;
use crate::error::{CpuError, area, expect_len};
use crate::isa::Isa;
use crate::parallel::OutPtr;

/// `out[t] = softmax(scale · q[t] · Kᵀ) · V` for each query head of each token, in f32.
///
/// Token t sees positions `0..=positions[t]` of row `rows[t]` of the cache; `q` and `out` are
/// `[T, Hq·D]`. Query head h reads key head `h / (Hq / Hkv)`. Tokens that follow each other in one
/// row with rising positions are computed together; which ones does not depend on the number of
/// threads, nor does any bit of the result.
///
/// # Errors
/// [`CpuError::Length`] if a slice does not fit, [`CpuError::Index`] if a token stands outside the
/// cache.
///
/// # Examples
///
/// ```
/// use tritburn_cpu::{Heads, KvView, TokenView, attention};
///
/// // One head of 2 floats, one sequence with room for three tokens; the token stands at position 1.
/// let heads = Heads::new(1, 1, 2)?;
/// let (keys, values) = ([0.0_f32; 6], [1.0_f32, 2.0, 3.0, 4.0, 9.0, 9.0]);
/// let cache = KvView::new(&keys, &values, 1, 3, heads)?;
/// let mut out = [0.0; 2];
/// attention(&[1.0, 1.0], TokenView::new(&[0], &[1])?, cache, 1.0, &mut out)?;
/// // Keys alike: the mean of the values at positions 0 and 1.
/// assert!((out[0] - 2.0).abs() < 1e-6 && (out[1] - 3.0).abs() < 1e-6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn attention<E: Element>(
    q: &[f32],
    tokens: TokenView<'_>,
    cache: KvView<'_, E>,
    scale: f32,
    out: &mut [f32],
) -> Result<(), CpuError> {
    attention_with(Isa::detect(), q, tokens, cache, scale, out)
}

/// [`attention`] on a given instruction set.
///
/// # Errors
/// Those of [`attention`], and [`CpuError::Unavailable`].
pub fn attention_with<E: Element>(
    isa: Isa,
    q: &[f32],
    tokens: TokenView<'_>,
    cache: KvView<'_, E>,
    scale: f32,
    out: &mut [f32],
) -> Result<(), CpuError> {
    isa.require()?;
    let len = area(tokens.len(), cache.heads.query_width())?;
    expect_len("q", q.len(), len)?;
    expect_len("out", out.len(), len)?;
    tokens.check(cache.places.batch(), cache.places.capacity())?;
    let job = AttentionJob {
        q,
        tokens,
        cache,
        // Exponentials are powers of two.
        scale: scale * std::f32::consts::LOG2_E,
        out: OutPtr::new(out),
    };
    E::attention(isa, job);
    Ok(())
}

/// From this many tokens in a row on, blocks are faster.
const MIN_RUN: usize = 4;

/// Checked operands.
pub struct AttentionJob<'a, E> {
    q: &'a [f32],
    tokens: TokenView<'a>,
    cache: KvView<'a, E>,
    scale: f32,
    out: OutPtr<f32>,
}

impl<'a, E: Element> AttentionJob<'a, E> {
    pub(super) fn run(self, isa: Isa) {
        let mut single = Vec::new();
        let mut runs = Vec::new();
        for run in self.runs() {
            // The vectors of the first way hold whole heads.
            if run.len() < MIN_RUN && self.cache.heads.dim().is_multiple_of(LANES) {
                single.extend(run);
            } else {
                runs.push(run);
            }
        }
        decode::run(isa, &self, &single);
        prefill::run(isa, &self, &runs);
    }

    /// Cuts the tokens into runs of one row and rising positions, in order.
    fn runs(&self) -> Vec<Range<usize>> {
        let mut runs: Vec<Range<usize>> = Vec::new();
        for token in 0..self.tokens.len() {
            match runs.last_mut() {
                Some(run)
                    if self.tokens.row(token - 1) == self.tokens.row(token)
                        && self.tokens.position(token - 1) + 1 == self.tokens.position(token) =>
                {
                    run.end += 1;
                }
                _ => runs.push(token..token + 1),
            }
        }
        runs
    }

    /// Queries of a token that share a key head, `[group, D]`; also where their outputs start.
    #[inline(always)]
    fn queries(&self, token: usize, head: usize) -> (&'a [f32], usize) {
        let heads = self.cache.heads;
        let len = heads.group() * heads.dim();
        let at = token * heads.query_width() + head * len;
        (&self.q[at..][..len], at)
    }
}
