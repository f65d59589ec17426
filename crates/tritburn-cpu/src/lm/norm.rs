//! Normalisation of rows, and what stands before and after it in a transformer: the residual sum,
//! the gate, the quantiser. One pass over memory: a row stays in the level-1 cache.
//!
//! Sums have one order, whatever the instruction set and the number of threads: 64 lanes, lane `l`
//! adding the squares of elements `l`, `l + 64`, ..., folded by halves.

use tritburn_formats::layout::activation_words_per_row;
use tritburn_formats::quantize::activation::{activation_bytes_mut, quantize_row};

use super::gate::GatedActivation;
use super::operands::RmsNorm;
use super::vector::{self, Lanes, Work};
use crate::error::{CpuError, area, expect_len};
use crate::isa::Isa;
use crate::parallel::{self, OutPtr};

/// `y = norm(x + residual)` for x `[T, K]`, T following from the length of `x`.
///
/// `residual` `[T, K]` may be left out; `sum` `[T, K]` takes `x + residual` if given.
///
/// # Errors
/// [`CpuError::EmptyRow`] if K, the length of `gamma`, is zero, [`CpuError::Length`] if a slice
/// does not fit.
///
/// # Examples
///
/// ```
/// use tritburn_cpu::{RmsNorm, rms_norm};
///
/// let norm = RmsNorm { gamma: &[1.0, 1.0], eps: 0.0 };
/// let (mut sum, mut y) = ([0.0; 2], [0.0; 2]);
/// rms_norm(&[2.0, 5.0], Some(&[1.0, -2.0]), norm, Some(&mut sum), &mut y)?;
/// assert_eq!(sum, [3.0, 3.0]);
/// assert!(y.iter().all(|y| (y - 1.0).abs() < 1e-6)); // rms(3, 3) = 3
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn rms_norm(
    x: &[f32],
    residual: Option<&[f32]>,
    norm: RmsNorm<'_>,
    sum: Option<&mut [f32]>,
    y: &mut [f32],
) -> Result<(), CpuError> {
    rms_norm_with(Isa::detect(), x, residual, norm, sum, y)
}

/// [`rms_norm`] on a given instruction set; all give the same bits.
///
/// # Errors
/// Those of [`rms_norm`], and [`CpuError::Unavailable`].
pub fn rms_norm_with(
    isa: Isa,
    x: &[f32],
    residual: Option<&[f32]>,
    norm: RmsNorm<'_>,
    sum: Option<&mut [f32]>,
    y: &mut [f32],
) -> Result<(), CpuError> {
    isa.require()?;
    let tokens = row_count("x", x.len(), norm.gamma.len())?;
    let source = Source::sum(x, residual, sum)?;
    expect_len("y", y.len(), x.len())?;
    let sink = Sink::Float(OutPtr::new(y));
    run(isa, tokens, norm.gamma.len(), Some(norm), source, sink);
    Ok(())
}

/// [`rms_norm`], its result quantised as [`quantize_activations`](crate::quantize_activations)
/// would: the same codes `[T, 4·ceil(K / 16)]` and scales `[T]`, bit for bit.
///
/// # Errors
/// Those of [`rms_norm`].
pub fn rms_norm_quantize(
    x: &[f32],
    residual: Option<&[f32]>,
    norm: RmsNorm<'_>,
    sum: Option<&mut [f32]>,
    codes: &mut [u32],
    scales: &mut [f32],
) -> Result<(), CpuError> {
    rms_norm_quantize_with(Isa::detect(), x, residual, norm, sum, codes, scales)
}

/// [`rms_norm_quantize`] on a given instruction set; all give the same bits.
///
/// # Errors
/// Those of [`rms_norm`], and [`CpuError::Unavailable`].
pub fn rms_norm_quantize_with(
    isa: Isa,
    x: &[f32],
    residual: Option<&[f32]>,
    norm: RmsNorm<'_>,
    sum: Option<&mut [f32]>,
    codes: &mut [u32],
    scales: &mut [f32],
) -> Result<(), CpuError> {
    isa.require()?;
    let tokens = row_count("x", x.len(), norm.gamma.len())?;
    let source = Source::sum(x, residual, sum)?;
    let sink = Sink::codes(tokens, norm.gamma.len(), codes, scales)?;
    run(isa, tokens, norm.gamma.len(), Some(norm), source, sink);
    Ok(())
}

/// Rows of `width` elements in `len`.
pub(crate) fn row_count(
    operand: &'static str,
    len: usize,
    width: usize,
) -> Result<usize, CpuError> {
    let rows = len.checked_div(width).ok_or(CpuError::EmptyRow)?;
    expect_len(operand, len, rows * width)?;
    Ok(rows)
}

/// Where the rows to be normalised come from.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// `x + residual`, also written to `sum`.
    Sum {
        x: &'a [f32],
        residual: Option<&'a [f32]>,
        sum: Option<OutPtr<f32>>,
    },
    /// `f(gate) · up`.
    Gate {
        gate_up: &'a [f32],
        activation: GatedActivation,
    },
}

impl<'a> Source<'a> {
    fn sum(
        x: &'a [f32],
        residual: Option<&'a [f32]>,
        sum: Option<&mut [f32]>,
    ) -> Result<Self, CpuError> {
        if let Some(residual) = residual {
            expect_len("residual", residual.len(), x.len())?;
        }
        if let Some(sum) = &sum {
            expect_len("sum", sum.len(), x.len())?;
        }
        Ok(Self::Sum {
            x,
            residual,
            sum: sum.map(OutPtr::new),
        })
    }

    /// Writes a row.
    ///
    /// # Safety
    /// No other task works on this token.
    #[inline(always)]
    unsafe fn fill(self, token: usize, row: &mut [f32]) {
        let k = row.len();
        match self {
            Source::Sum { x, residual, sum } => {
                let x = &x[token * k..][..k];
                match residual {
                    None => row.copy_from_slice(x),
                    Some(residual) => {
                        let residual = &residual[token * k..][..k];
                        for (row, (x, residual)) in row.iter_mut().zip(x.iter().zip(residual)) {
                            *row = x + residual;
                        }
                    }
                }
                if let Some(sum) = sum {
                    // SAFETY: `sum` is as long as `x`, and the token is this task's own.
                    unsafe { sum.slice(token * k, k) }.copy_from_slice(row);
                }
            }
            Source::Gate {
                gate_up,
                activation,
            } => {
                let (gate, up) = gate_up[token * 2 * k..][..2 * k].split_at(k);
                activation.apply(gate, up, row);
            }
        }
    }
}

/// Where normalised rows go.
#[derive(Clone, Copy)]
pub(super) enum Sink {
    Float(OutPtr<f32>),
    Codes {
        codes: OutPtr<u32>,
        scales: OutPtr<f32>,
    },
}

impl Sink {
    pub(super) fn codes(
        tokens: usize,
        k: usize,
        codes: &mut [u32],
        scales: &mut [f32],
    ) -> Result<Self, CpuError> {
        expect_len("scales", scales.len(), tokens)?;
        let words = area(tokens, activation_words_per_row(k))?;
        expect_len("codes", codes.len(), words)?;
        Ok(Self::Codes {
            codes: OutPtr::new(codes),
            scales: OutPtr::new(scales),
        })
    }
}

/// Fills rows of `k` floats from `source`, normalises them if asked to, and writes them to `sink`.
pub(super) fn run(
    isa: Isa,
    tokens: usize,
    k: usize,
    norm: Option<RmsNorm<'_>>,
    source: Source<'_>,
    sink: Sink,
) {
    // An element takes about as long as sixteen multiply-adds of a product.
    let parallel = tokens > 1 && parallel::worth_it(tokens.saturating_mul(k).saturating_mul(16));
    parallel::for_ranges(parallel, tokens, 1, usize::MAX, |tokens| {
        let mut scratch = match sink {
            Sink::Float(_) => Vec::new(),
            Sink::Codes { .. } => vec![0.0; k],
        };
        for token in tokens {
            let row = match sink {
                // SAFETY: `y` has a row for each token, and the token is this task's own.
                Sink::Float(y) => unsafe { y.slice(token * k, k) },
                Sink::Codes { .. } => &mut scratch[..],
            };
            let work = NormRow {
                source,
                norm,
                token,
                row,
            };
            // SAFETY: the callers made sure that the set is available; the token is this task's.
            unsafe { vector::run(isa, work) };
            if let Sink::Codes { codes, scales } = sink {
                let words = activation_words_per_row(k);
                // SAFETY: codes and scales have a row for each token, and it is this task's own.
                unsafe {
                    let codes = codes.slice(token * words, words);
                    scales.write(token, quantize_row(&scratch, activation_bytes_mut(codes)));
                }
            }
        }
    });
}

/// Fills one row, and normalises it if there is a norm.
struct NormRow<'a> {
    source: Source<'a>,
    norm: Option<RmsNorm<'a>>,
    token: usize,
    row: &'a mut [f32],
}

impl Work for NormRow<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        // SAFETY: the caller's promise.
        unsafe { self.source.fill(self.token, self.row) };
        if let Some(norm) = self.norm {
            let scale = norm.scale(self.row);
            for (h, gamma) in self.row.iter_mut().zip(norm.gamma) {
                *h = gamma * (*h * scale);
            }
        }
    }
}

impl RmsNorm<'_> {
    /// `1 / √(mean(h²) + ε)`.
    #[inline(always)]
    pub(crate) fn scale(&self, row: &[f32]) -> f32 {
        let mean = dot(row, row) / row.len() as f32;
        1.0 / (mean + self.eps).sqrt()
    }
}

/// Lanes of a sum.
const SUM_LANES: usize = 64;

/// `Σ a·b`, in the one order of sums.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; SUM_LANES];
    let (whole_a, rest_a) = a.as_chunks::<SUM_LANES>();
    let (whole_b, rest_b) = b.as_chunks::<SUM_LANES>();
    for (a, b) in whole_a.iter().zip(whole_b) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += a * b;
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(rest_a.iter().zip(rest_b)) {
        *lane += a * b;
    }
    let mut step = SUM_LANES / 2;
    while step > 0 {
        for i in 0..step {
            lanes[i] += lanes[i + step];
        }
        step /= 2;
    }
    lanes[0]
}
