//! int8 activations times int8 weights with a scale per row, exact in i32.

use std::ops::Range;

use tritburn_formats::quantize::activation::{activation_bytes, quantize_row};

use self::bytes::{Bytes, BytesWork};
use super::super::element::Element;
use crate::error::{CpuError, area, expect_len};
use crate::isa::Isa;
use crate::parallel::{self, OutPtr};
use crate::view::QuantizedView;

mod bytes;

/// Inputs from which the i32 sum of products of int8 could overflow.
const MAX_INPUTS: usize = (1 << 31) / (128 * 128);

/// Weight rows of a task: while tokens pass over them they stay in the level-2 cache.
const TASK_ROWS: usize = 128;
/// Prefetch distance: how far ahead of the weights in use the next ones are prefetched.
const PREFETCH_BYTES: usize = 8192;

/// int8 weights `[V, K]` with a scale per row: `W[v, k] ≈ codes[v, k] · scales[v]`.
#[derive(Clone, Copy, Debug)]
pub struct Int8View<'a> {
    codes: &'a [i8],
    scales: &'a [f32],
    k: usize,
}

impl<'a> Int8View<'a> {
    /// A view of codes `[V, k]` and scales `[V]`.
    ///
    /// # Errors
    /// [`CpuError::EmptyRow`] if `k` is zero, [`CpuError::TooLarge`] if it is so large that sums of
    /// products overflow i32 (131072), [`CpuError::Length`] if the slices do not fit.
    pub fn new(codes: &'a [i8], scales: &'a [f32], k: usize) -> Result<Self, CpuError> {
        if k == 0 {
            return Err(CpuError::EmptyRow);
        }
        if k >= MAX_INPUTS {
            return Err(CpuError::TooLarge {
                rows: scales.len(),
                columns: k,
            });
        }
        expect_len("codes", codes.len(), area(scales.len(), k)?)?;
        Ok(Self { codes, scales, k })
    }

    /// Rows V.
    pub fn rows(&self) -> usize {
        self.scales.len()
    }

    /// Inputs K of a row.
    pub fn in_features(&self) -> usize {
        self.k
    }
}

/// Quantises weights `[V, k]` to int8, a scale per row: codes `[V, k]` and scales `[V]`, by the
/// rule of [`quantize_activations`](crate::quantize_activations). A row that holds a NaN or an
/// infinity gets a scale of NaN.
///
/// # Errors
/// [`CpuError::EmptyRow`] if `k` is zero, [`CpuError::Length`] if `weights` is no whole number of
/// rows.
pub fn quantize_rows_int8<E: Element>(
    weights: &[E],
    k: usize,
) -> Result<(Vec<i8>, Vec<f32>), CpuError> {
    let rows = weights.len().checked_div(k).ok_or(CpuError::EmptyRow)?;
    expect_len("weights", weights.len(), rows * k)?;
    let mut codes = vec![0; weights.len()];
    let mut scales = vec![0.0; rows];
    E::quantize(QuantizeJob {
        weights,
        k,
        rows,
        codes: OutPtr::new(&mut codes),
        scales: OutPtr::new(&mut scales),
    });
    Ok((codes, scales))
}

/// Checked operands of [`quantize_rows_int8`].
pub struct QuantizeJob<'a, E> {
    weights: &'a [E],
    k: usize,
    rows: usize,
    codes: OutPtr<i8>,
    scales: OutPtr<f32>,
}

impl<E: Element> QuantizeJob<'_, E> {
    pub(in super::super) fn run(self) {
        let Self { weights, k, .. } = self;
        let parallel = parallel::worth_it(weights.len().saturating_mul(16));
        let (codes, scales) = (self.codes, self.scales);
        parallel::for_ranges(parallel, self.rows, 1, usize::MAX, |rows| {
            let mut floats = vec![0.0; k];
            for row in rows {
                for (float, weight) in floats.iter_mut().zip(&weights[row * k..]) {
                    *float = weight.to_f32();
                }
                // SAFETY: both have an entry for each row, and the row is this task's own.
                unsafe { scales.write(row, quantize_row(&floats, codes.slice(row * k, k))) };
            }
        });
    }
}

/// `y[t, v] = acc · (scale_v · s_t)` with `acc` the exact i32 product of the codes, for x `[T, K]`,
/// weights `[V, K]`, y `[T, V]`. Weights are read from memory once.
///
/// # Errors
/// [`CpuError::InFeatures`] if the operands disagree on K, [`CpuError::Length`] if `y` does not fit.
pub fn int8_head(
    x: QuantizedView<'_>,
    weights: Int8View<'_>,
    y: &mut [f32],
) -> Result<(), CpuError> {
    int8_head_with(Isa::detect(), x, weights, y)
}

/// [`int8_head`] on a given instruction set; all give the same bits.
///
/// # Errors
/// Those of [`int8_head`], and [`CpuError::Unavailable`].
pub fn int8_head_with(
    isa: Isa,
    x: QuantizedView<'_>,
    weights: Int8View<'_>,
    y: &mut [f32],
) -> Result<(), CpuError> {
    isa.require()?;
    if x.in_features() != weights.k {
        return Err(CpuError::InFeatures {
            activations: x.in_features(),
            weights: weights.k,
        });
    }
    expect_len("y", y.len(), area(x.rows(), weights.rows())?)?;
    let tokens = Tokens::new(&x);
    let job = Int8Job {
        weights,
        tokens: &tokens,
        scales: x.scales(),
        y: OutPtr::new(y),
    };
    let parallel = parallel::worth_it(weights.codes.len().saturating_mul(x.rows()));
    parallel::for_ranges(parallel, weights.rows(), MAX_ROWS, TASK_ROWS, |rows| {
        // SAFETY: the set is available, the ranges are inside the job, tasks own disjoint rows.
        unsafe { bytes::run(isa, Rows { job: &job, rows }) };
    });
    Ok(())
}

/// Bytes of a step.
const STEP: usize = 64;

/// The codes of each token, padded with zeros to whole steps, and their sums.
struct Tokens {
    codes: Vec<i8>,
    stride: usize,
    sums: Vec<i32>,
}

impl Tokens {
    fn new(x: &QuantizedView<'_>) -> Self {
        let k = x.in_features();
        let stride = k.next_multiple_of(STEP);
        let mut codes = vec![0; x.rows() * stride];
        let given = activation_bytes(x.codes()).chunks_exact(k.next_multiple_of(16));
        let mut sums = Vec::with_capacity(x.rows());
        for (to, from) in codes.chunks_exact_mut(stride).zip(given) {
            to[..k].copy_from_slice(&from[..k]);
            sums.push(to.iter().map(|&code| i32::from(code)).sum());
        }
        Self {
            codes,
            stride,
            sums,
        }
    }
}

/// Checked operands.
struct Int8Job<'a> {
    weights: Int8View<'a>,
    tokens: &'a Tokens,
    scales: &'a [f32],
    y: OutPtr<f32>,
}

/// Weight rows of a tile.
const MAX_ROWS: usize = 4;

/// Some outputs of all tokens. No two tasks may share an output.
struct Rows<'a> {
    job: &'a Int8Job<'a>,
    rows: Range<usize>,
}

impl BytesWork for Rows<'_> {
    #[inline(always)]
    unsafe fn run<B: Bytes>(self) {
        let (job, rows) = (self.job, self.rows);
        let mut token = 0;
        while token < job.scales.len() {
            let left = job.scales.len() - token;
            let width = left.div_ceil(left.div_ceil(B::MAX_TOKENS));
            let rows = rows.clone();
            // SAFETY: the caller's promise.
            unsafe {
                match width {
                    1 => column::<B, 1>(job, rows, token),
                    2 => column::<B, 2>(job, rows, token),
                    3 => column::<B, 3>(job, rows, token),
                    _ => column::<B, 4>(job, rows, token),
                }
            }
            token += width;
        }
    }
}

/// All `rows` for `T` tokens.
///
/// # Safety
/// The set is available, the ranges are inside the job, and no other task writes these outputs.
#[inline(always)]
unsafe fn column<B: Bytes, const T: usize>(job: &Int8Job<'_>, rows: Range<usize>, token: usize) {
    let mut row = rows.start;
    // SAFETY: the caller's promise.
    unsafe {
        while row + MAX_ROWS <= rows.end {
            tile::<B, MAX_ROWS, T>(job, row, token);
            row += MAX_ROWS;
        }
        while row < rows.end {
            tile::<B, 1, T>(job, row, token);
            row += 1;
        }
    }
}

/// `R` outputs of `T` tokens.
///
/// # Safety
/// As [`column`].
#[inline(always)]
unsafe fn tile<B: Bytes, const R: usize, const T: usize>(
    job: &Int8Job<'_>,
    row: usize,
    token: usize,
) {
    let k = job.weights.k;
    let stride = job.tokens.stride;
    let weights = job.weights.codes[row * k..][..R * k].as_ptr();
    let x = job.tokens.codes[token * stride..][..T * stride].as_ptr();
    // SAFETY: the slices above have `R` and `T` rows, tokens are padded to whole steps; a row of
    // weights is only read up to its end.
    unsafe {
        let mut sums = [[B::zero(); T]; R];
        let whole = k / STEP * STEP;
        for at in (0..whole).step_by(STEP) {
            for r in 0..R {
                let ahead = at * R + r * STEP + PREFETCH_BYTES;
                B::prefetch(weights.wrapping_add(ahead));
            }
            for r in 0..R {
                let weight = B::load(weights.add(r * k + at));
                for t in 0..T {
                    sums[r][t] = B::dot(sums[r][t], weight, x.add(t * stride + at));
                }
            }
        }
        if whole < k {
            for r in 0..R {
                let mut part = [0; STEP];
                let rest = std::slice::from_raw_parts(weights.add(r * k + whole), k - whole);
                part[..k - whole].copy_from_slice(rest);
                let weight = B::load(part.as_ptr());
                for t in 0..T {
                    sums[r][t] = B::dot(sums[r][t], weight, x.add(t * stride + whole));
                }
            }
        }
        for t in 0..T {
            let biased = job.tokens.sums[token + t].wrapping_mul(B::BIAS);
            for r in 0..R {
                let exact = B::sum(sums[r][t]).wrapping_sub(biased);
                let scale = job.weights.scales[row + r] * job.scales[token + t];
                let at = (token + t) * job.weights.rows() + row + r;
                job.y.write(at, exact as f32 * scale);
            }
        }
    }
}
