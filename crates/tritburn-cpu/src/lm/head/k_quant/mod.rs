//! Activations times weights in the K types of ggml, kept in their blocks.
//!
//! A token's activations are rounded to 16 bits with one scale, in two bytes ([`Tokens`]), so that products of
//! bytes serve: the logits differ from those of f32 by some 10⁻⁵ of their size. For each block of 256 weights two sums
//! are exact, `I = Σ scale · code · x` and `M = Σ minimum · x`; the logit is the f32 sum of `d · I - dmin · M`
//! over the blocks, in their order. All instruction sets give the same bits.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod embedding;
mod portable;
mod tokens;

use std::ops::Range;

use tritburn_formats::codec::gguf::k_quant::{KQuant, KQuantMatrix};

use self::tokens::Tokens;
use crate::error::{CpuError, area, expect_len};
use crate::isa::Isa;
use crate::parallel::{self, OutPtr};

pub use embedding::k_quant_embedding;

/// Weights, or activations, of a block.
const BLOCK: usize = 256;
/// Weights that share a scale, in the type with the smallest groups.
const GROUP: usize = 16;
/// Groups of a block.
const GROUPS: usize = BLOCK / GROUP;
/// Weight rows of a task: while tokens pass over them they stay in the level-2 cache.
const TASK_ROWS: usize = 64;
/// Tokens that share the decoded codes of a block.
const MAX_TOKENS: usize = 4;

/// Weights `[V, K]` in blocks of a K type, each row whole blocks.
#[derive(Clone, Copy, Debug)]
pub struct KQuantView<'a> {
    kind: KQuant,
    bytes: &'a [u8],
    rows: usize,
    k: usize,
}

impl<'a> KQuantView<'a> {
    /// A view of `rows` rows of `k` weights.
    ///
    /// # Errors
    /// [`CpuError::EmptyRow`] if `k` is zero, [`CpuError::Length`] if `bytes` are not that many rows.
    pub fn new(kind: KQuant, bytes: &'a [u8], rows: usize, k: usize) -> Result<Self, CpuError> {
        if k == 0 {
            return Err(CpuError::EmptyRow);
        }
        expect_len("blocks", bytes.len(), area(rows, kind.row_bytes(k))?)?;
        Ok(Self {
            kind,
            bytes,
            rows,
            k,
        })
    }

    /// A view of a matrix.
    ///
    /// # Errors
    /// [`CpuError::EmptyRow`] for a matrix without columns.
    pub fn of(matrix: &'a KQuantMatrix) -> Result<Self, CpuError> {
        let [rows, k] = matrix.shape();
        Self::new(matrix.kind(), matrix.bytes(), rows, k)
    }

    /// Rows V.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs K of a row.
    pub fn in_features(&self) -> usize {
        self.k
    }

    /// The blocks of a row.
    fn row(&self, row: usize) -> &'a [u8] {
        let bytes = self.kind.row_bytes(self.k);
        &self.bytes[row * bytes..][..bytes]
    }
}

/// `y = x · Wᵀ` for x `[T, K]`, weights `[V, K]`, y `[T, V]`; T follows from the length of `x`. Weights are read from
/// memory once. A token that holds a NaN or an infinity gets logits of NaN.
///
/// # Errors
/// [`CpuError::Length`] if a slice does not fit.
///
/// # Examples
///
/// ```
/// use tritburn_cpu::{KQuantView, k_quant_head};
/// use tritburn_formats::codec::gguf::k_quant::{KQuant, KQuantMatrix};
///
/// let weights = vec![0.5; 3 * 256];
/// let matrix = KQuantMatrix::quantize(KQuant::Q6K, [3, 256], &weights)?;
/// let mut logits = [0.0; 3];
/// k_quant_head(&[1.0; 256], KQuantView::of(&matrix)?, &mut logits)?;
/// assert!(logits.iter().all(|logit| (logit - 128.0).abs() < 0.1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn k_quant_head(x: &[f32], weights: KQuantView<'_>, y: &mut [f32]) -> Result<(), CpuError> {
    k_quant_head_with(Isa::detect(), x, weights, y)
}

/// [`k_quant_head`] on a given instruction set; all give the same bits.
///
/// # Errors
/// Those of [`k_quant_head`], and [`CpuError::Unavailable`].
pub fn k_quant_head_with(
    isa: Isa,
    x: &[f32],
    weights: KQuantView<'_>,
    y: &mut [f32],
) -> Result<(), CpuError> {
    isa.require()?;
    let tokens = x.len() / weights.k;
    expect_len("x", x.len(), tokens * weights.k)?;
    expect_len("y", y.len(), area(tokens, weights.rows)?)?;
    let tokens = Tokens::new(x, weights.k);
    let job = KQuantJob {
        weights,
        tokens: &tokens,
        y: OutPtr::new(y),
    };
    let work = area(weights.rows, weights.k)?.saturating_mul(tokens.count());
    parallel::for_ranges(
        parallel::worth_it(work),
        weights.rows,
        1,
        TASK_ROWS,
        // SAFETY: the set is available, the ranges are inside the job, tasks own disjoint rows.
        |rows| unsafe { run(isa, &job, rows) },
    );
    Ok(())
}

/// Checked operands.
struct KQuantJob<'a> {
    weights: KQuantView<'a>,
    tokens: &'a Tokens,
    y: OutPtr<f32>,
}

/// Some outputs of all tokens.
///
/// # Safety
/// The set is available, the rows are inside the job, and no other task writes their outputs.
unsafe fn run(isa: Isa, job: &KQuantJob<'_>, rows: Range<usize>) {
    let count = job.tokens.count();
    let mut token = 0;
    while token < count {
        let left = count - token;
        let width = left.div_ceil(left.div_ceil(MAX_TOKENS));
        for row in rows.clone() {
            // SAFETY: the caller's promise.
            unsafe {
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 | Isa::AvxVnni | Isa::Avx512Vnni | Isa::Amx => {
                        avx2::row(job, row, token, width);
                    }
                    _ => portable::row(job, row, token, width),
                }
            }
        }
        token += width;
    }
}

impl KQuantJob<'_> {
    /// Writes the logit of a token.
    ///
    /// # Safety
    /// Token and row are inside the job, and no other task writes this output.
    #[inline(always)]
    unsafe fn store(&self, token: usize, row: usize, sum: f32) {
        let at = token * self.weights.rows + row;
        // SAFETY: the caller's promise.
        unsafe { self.y.write(at, sum * self.tokens.scale(token)) }
    }
}

/// What a block adds to a logit: `d · i - dmin · m`. The minima of Q6_K are multiples of its scales, with the same
/// factor, and are taken off while the sums are integers.
#[inline(always)]
fn value(kind: KQuant, [d, dmin]: [f32; 2], [i, m]: [i64; 2]) -> f32 {
    match kind {
        KQuant::Q6K => d * (i - m) as f32,
        KQuant::Q4K | KQuant::Q5K => d * i as f32 - dmin * m as f32,
    }
}
