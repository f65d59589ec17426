//! The loops over rows, tokens and inputs, generic over the vector operations of a set.

use std::ops::Range;

use crate::lm::vector;
use crate::parallel::OutPtr;
use crate::view::WeightView;

/// Weight rows of the tallest tile.
pub(super) const MAX_ROWS: usize = 4;

/// Inputs of a step: one word of codes.
const STEP: usize = 16;

/// Prefetch distance: how far ahead of the codes in use the next ones are prefetched.
const PREFETCH_BYTES: usize = 4096;

/// One product `x[M, K] · W[N, K]ᵀ`, operands checked.
pub(super) struct W2A16Job<'a> {
    x: &'a [f32],
    w: &'a WeightView<'a>,
    bias: Option<&'a [f32]>,
    y: OutPtr<f32>,
    k: usize,
    group: usize,
    values: [f32; 4],
}

impl<'a> W2A16Job<'a> {
    pub(super) fn new(
        x: &'a [f32],
        w: &'a WeightView<'a>,
        bias: Option<&'a [f32]>,
        y: OutPtr<f32>,
    ) -> Self {
        let k = w.layout().in_features();
        Self {
            x,
            w,
            bias,
            y,
            k,
            group: w.group().unwrap_or(k),
            values: [0, 1, 2, 3].map(|c| w.layout().code().value(c) as f32),
        }
    }
}

/// What products with 2-bit weights add to the vector operations of an instruction set.
///
/// # Safety
/// Every function needs the instruction set.
pub(super) trait Lanes: vector::Lanes {
    /// The weights of the four codes, as the set looks them up.
    type Table: Copy;
    /// Rows of a tile, 2 or 4.
    const ROWS: usize;
    /// Tokens of the widest tile, at most 4.
    const MAX_TOKENS: usize;

    /// Prepares the weights of the four codes.
    unsafe fn table(values: [f32; 4]) -> Self::Table;
    /// The weights of the 16 codes of a word.
    unsafe fn decode(word: u32, table: Self::Table) -> Self::V;
}

/// Computes the outputs of `rows` and `tokens`.
///
/// # Safety
/// The instruction set is available, the ranges are inside the job, and no other task writes
/// these outputs.
#[inline(always)]
pub(super) unsafe fn run<L: Lanes>(job: &W2A16Job<'_>, rows: Range<usize>, tokens: Range<usize>) {
    let mut token = tokens.start;
    while token < tokens.end {
        let left = tokens.end - token;
        let width = left.div_ceil(left.div_ceil(L::MAX_TOKENS));
        let rows = rows.clone();
        // SAFETY: the caller's promise.
        unsafe {
            match width {
                1 => column::<L, 1>(job, rows, token),
                2 => column::<L, 2>(job, rows, token),
                3 => column::<L, 3>(job, rows, token),
                _ => column::<L, 4>(job, rows, token),
            }
        }
        token += width;
    }
}

/// All `rows` for `T` tokens.
#[inline(always)]
unsafe fn column<L: Lanes, const T: usize>(job: &W2A16Job<'_>, rows: Range<usize>, token: usize) {
    let mut row = rows.start;
    while row < rows.end {
        let left = rows.end - row;
        // SAFETY: the caller's promise.
        unsafe {
            if L::ROWS == 4 && left >= 4 {
                tile::<L, 4, T>(job, row, token);
                row += 4;
            } else if left >= 2 {
                tile::<L, 2, T>(job, row, token);
                row += 2;
            } else {
                tile::<L, 1, T>(job, row, token);
                row += 1;
            }
        }
    }
}

/// `R` rows and `T` tokens.
#[inline(always)]
unsafe fn tile<L: Lanes, const R: usize, const T: usize>(
    job: &W2A16Job<'_>,
    row: usize,
    token: usize,
) {
    let layout = job.w.layout();
    let words_per_row = layout.words_per_row();
    let words = job.w.words()[row * words_per_row..].as_ptr();
    let x = job.x[token * job.k..].as_ptr();
    // SAFETY: rows `row..row + R` and tokens `token..token + T` are inside the job; whole steps
    // end at or before `k`, and the last, partial one reads a copy.
    unsafe {
        let table = L::table(job.values);
        let mut total = [[L::splat(0.0); T]; R];
        let mut first = 0;
        while first < job.k {
            let end = (first + job.group).min(job.k);
            let mut acc = [[L::splat(0.0); T]; R];
            for step in first / STEP..end / STEP {
                if T == 1 && step.is_multiple_of(STEP) {
                    for r in 0..R {
                        let ahead = (step * R + r * STEP) * 4 + PREFETCH_BYTES;
                        L::prefetch(words.wrapping_byte_add(ahead).cast());
                    }
                }
                let codes = words.add(step);
                let x = x.add(step * STEP);
                multiply::<L, R, T>(&mut acc, codes, words_per_row, x, job.k, table);
            }
            let rest = end % STEP;
            if rest > 0 {
                let step = end / STEP;
                let mut padded = [[0.0; STEP]; T];
                for (t, padded) in padded.iter_mut().enumerate() {
                    let at = (token + t) * job.k + step * STEP;
                    padded[..rest].copy_from_slice(&job.x[at..at + rest]);
                }
                let x = padded.as_ptr().cast();
                multiply::<L, R, T>(&mut acc, words.add(step), words_per_row, x, STEP, table);
            }
            for r in 0..R {
                let index = layout.scale().index(row + r, first, job.k);
                let scale = job.w.scales()[index] * layout.code().unit();
                for t in 0..T {
                    total[r][t] = L::fma(acc[r][t], L::splat(scale), total[r][t]);
                }
            }
            first = end;
        }
        for r in 0..R {
            for t in 0..T {
                let bias = job.bias.map_or(0.0, |bias| bias[row + r]);
                let at = (token + t) * layout.out_features() + row + r;
                job.y.write(at, L::sum(total[r][t]) + bias);
            }
        }
    }
}

/// `acc[r][t] += W[r] · x[t]` over one word of codes.
///
/// # Safety
/// As [`Lanes`]: a word at `codes + r·words_per_row`, 16 floats at `x + t·stride`.
#[inline(always)]
unsafe fn multiply<L: Lanes, const R: usize, const T: usize>(
    acc: &mut [[L::V; T]; R],
    codes: *const u32,
    words_per_row: usize,
    x: *const f32,
    stride: usize,
    table: L::Table,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut activations = [L::splat(0.0); T];
        for (t, activations) in activations.iter_mut().enumerate() {
            *activations = L::load(x.add(t * stride));
        }
        for (r, acc) in acc.iter_mut().enumerate() {
            let weights = L::decode(codes.add(r * words_per_row).read(), table);
            for (acc, &x) in acc.iter_mut().zip(&activations) {
                *acc = L::fma(weights, x, *acc);
            }
        }
    }
}
