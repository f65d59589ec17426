//! Attention of whole sequences, causal or not, with its gradient.
//!
//! A task is a sequence and a key head, or in the forward pass some of the query heads that share it where
//! threads would be idle. It takes queries in blocks:
//! scores of a block are held, `[QUERIES, length]`, never those of a sequence. The backward pass
//! computes them again from queries, keys and the logarithm of each row's sum.

mod backward;
mod forward;
mod product;

use std::ops::Range;

use crate::error::{CpuError, area, expect_len};
use crate::isa::Isa;
use crate::lm::Heads;
use crate::lm::vector;
use crate::parallel::{self, OutPtr};

/// Queries of a block.
const QUERIES: usize = 32;

/// `batch` sequences of `length` tokens.
#[derive(Clone, Copy, Debug)]
pub struct Sequences {
    /// Sequences B.
    pub batch: usize,
    /// Tokens T of each.
    pub length: usize,
    /// Heads of a token.
    pub heads: Heads,
    /// Whether a token sees the tokens up to itself only, or the whole sequence.
    pub causal: bool,
}

impl Sequences {
    /// Rows of queries: one a token and query head.
    fn statistics(&self) -> usize {
        self.batch * self.length * self.heads.query()
    }

    fn check(&self, qkv: usize, out: usize, statistics: usize) -> Result<(), CpuError> {
        let tokens = area(self.batch, self.length)?;
        expect_len("qkv", qkv, area(tokens, self.heads.qkv_width())?)?;
        expect_len("out", out, area(tokens, self.heads.query_width())?)?;
        expect_len("statistics", statistics, self.statistics())
    }

    /// Tokens that `token` sees: those before this one.
    #[inline(always)]
    fn seen(&self, token: usize) -> usize {
        match self.causal {
            true => token + 1,
            false => self.length,
        }
    }

    /// Whether a computation is worth more than one thread.
    fn parallel(&self) -> bool {
        let work = self.statistics().saturating_mul(self.length);
        parallel::worth_it(work.saturating_mul(self.heads.dim()))
    }

    /// Runs `task` for all planes, each cut into `parts` ranges of its query heads.
    fn for_planes(&self, parts: usize, task: impl Fn(Plane, Range<usize>) + Sync) {
        let (kv, group) = (self.heads.kv(), self.heads.group());
        let step = group.div_ceil(parts);
        let parts = group.div_ceil(step);
        let tasks = self.batch * kv * parts;
        parallel::for_ranges(self.parallel(), tasks, 1, 1, |range| {
            for at in range {
                let (plane, part) = (at / parts, at % parts);
                let plane = Plane {
                    sequences: *self,
                    sequence: plane / kv,
                    head: plane % kv,
                };
                task(plane, part * step..((part + 1) * step).min(group));
            }
        });
    }
}

/// A sequence and a key head.
#[derive(Clone, Copy)]
struct Plane {
    sequences: Sequences,
    sequence: usize,
    head: usize,
}

impl Plane {
    /// Where a token's floats of a query head start, in rows of `width` floats.
    #[inline(always)]
    fn query(&self, token: usize, g: usize, width: usize) -> usize {
        let heads = self.sequences.heads;
        let head = self.head * heads.group() + g;
        (self.sequence * self.sequences.length + token) * width + head * heads.dim()
    }

    /// Where a token's keys start in `qkv`.
    #[inline(always)]
    fn key(&self, token: usize) -> usize {
        let heads = self.sequences.heads;
        let row = (self.sequence * self.sequences.length + token) * heads.qkv_width();
        row + heads.query_width() + self.head * heads.dim()
    }

    /// Where a token's values start in `qkv`.
    #[inline(always)]
    fn value(&self, token: usize) -> usize {
        self.key(token) + self.sequences.heads.kv_width()
    }

    /// The place of a token's statistics.
    #[inline(always)]
    fn statistic(&self, token: usize, g: usize) -> usize {
        let heads = self.sequences.heads;
        let head = self.head * heads.group() + g;
        (self.sequence * heads.query() + head) * self.sequences.length + token
    }
}

/// `out[t] = softmax(scale · q[t] · Kᵀ) · V` over the tokens that t sees of its sequence, for qkv
/// `[B·T, (Hq + 2·Hkv)·D]`, queries first, and out `[B·T, Hq·D]`. `statistics` `[B, Hq, T]` takes
/// `ln Σ exp(scale · q · k)` for the backward pass. Query head h reads key head `h / (Hq / Hkv)`;
/// `scale` is positive.
///
/// # Errors
/// [`CpuError::Length`] if a slice does not fit.
pub fn sequence_attention(
    qkv: &[f32],
    sequences: Sequences,
    scale: f32,
    out: &mut [f32],
    statistics: &mut [f32],
) -> Result<(), CpuError> {
    sequences.check(qkv.len(), out.len(), statistics.len())?;
    let isa = Isa::detect();
    let (out, statistics) = (OutPtr::new(out), OutPtr::new(statistics));
    // Keys and values are laid out anew for every part: parts are made where threads would be idle.
    let threads = match sequences.parallel() {
        true => rayon::current_num_threads(),
        false => 1,
    };
    let parts = threads.div_ceil((sequences.batch * sequences.heads.kv()).max(1));
    sequences.for_planes(parts, |plane, group| {
        let job = forward::Job {
            plane,
            group,
            qkv,
            scale,
            out,
            statistics,
        };
        // SAFETY: a detected set is available; no two tasks share a query head of a plane.
        unsafe { vector::run(isa, job) };
    });
    Ok(())
}

/// The gradient of [`sequence_attention`], `d_qkv` in the shape of `qkv`, from `qkv`, the `out` and
/// `statistics` of the forward pass, and `d_out` (Dao et al. 2022, arXiv 2205.14135, section 3.1):
/// with `P = exp(scale · QKᵀ - statistics)` and `δ = Σ dO ∘ O`,
///
/// `dV = Pᵀ·dO`, `dS = scale · P ∘ (dO·Vᵀ - δ)`, `dQ = dS·K`, `dK = dSᵀ·Q`.
///
/// # Errors
/// [`CpuError::Length`] if a slice does not fit.
pub fn sequence_attention_backward(
    qkv: &[f32],
    out: &[f32],
    statistics: &[f32],
    d_out: &[f32],
    sequences: Sequences,
    scale: f32,
    d_qkv: &mut [f32],
) -> Result<(), CpuError> {
    sequences.check(qkv.len(), out.len(), statistics.len())?;
    expect_len("d_out", d_out.len(), out.len())?;
    expect_len("d_qkv", d_qkv.len(), qkv.len())?;
    let isa = Isa::detect();
    let d_qkv = OutPtr::new(d_qkv);
    // Gradients of keys and values are sums over all queries: a plane is one task.
    sequences.for_planes(1, |plane, _| {
        let job = backward::Job {
            plane,
            qkv,
            out,
            statistics,
            d_out,
            scale,
            d_qkv,
        };
        // SAFETY: a detected set is available; no two tasks share a plane.
        unsafe { vector::run(isa, job) };
    });
    Ok(())
}
