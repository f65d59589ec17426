//! int8 activations times 2-bit weights, exact in i32.
//!
//! | file | what |
//! |---|---|
//! | `job` | operands and output of one product, the epilogue |
//! | `tile` | the loops over rows, tokens and inputs, generic over an instruction set |
//! | `grouped` | the same where rows carry a scale per group |
//! | `portable`, `avx2`, `avx_vnni`, `avx512`, `neon` | the vector operations of each set |
//! | `panel` | many tokens on AVX2: codes decoded to bytes once, with their own loops |
//! | `amx` | tiles of 16 rows by 16 tokens with their own loops |

#![allow(
    clippy::needless_range_loop,
    reason = "tiles are indexed by row and token"
)]

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx_vnni;
mod grouped;
mod job;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod panel;
mod portable;
mod tile;

use std::ops::Range;

use crate::error::{CpuError, area, expect_len};
use crate::isa::Isa;
use crate::parallel::{self, OutPtr};
use crate::planes::Planes;
use crate::view::{QuantizedView, WeightView};
use job::{Output, RowScales, W2A8Job};

/// `y[m, n] = acc · (γ·unit·s_m) + bias[n]`, with `acc` the exact i32 product of the codes.
///
/// Where rows carry a scale per group, `y[m, n] = (Σ_g acc_g · (γ_g·unit)) · s_m + bias[n]`, added
/// in f32 from the first group to the last. `y` is `[M, N]`, `bias` `[N]`.
///
/// # Errors
/// [`CpuError::InFeatures`] if the operands disagree on K, [`CpuError::Length`] if `bias` or `y`
/// does not fit.
///
/// # Examples
///
/// ```
/// use tritburn_cpu::{QuantizedView, WeightView, matmul_w2a8};
/// use tritburn_formats::quantize::pack_weights;
/// use tritburn_formats::{PackedLayout, QuantizedActivations, ScaleGranularity, WeightCode};
///
/// // W [2, 2], x [1, 2], a bias for each output.
/// let layout = PackedLayout::new(2, 2, WeightCode::Ternary, ScaleGranularity::Row)?;
/// let w = pack_weights(&[1.0, 1.0, 0.5, -0.5], &layout)?;
/// let x = QuantizedActivations::quantize(&[3.0, 1.0], 2)?;
/// let mut y = [0.0; 2];
/// matmul_w2a8(QuantizedView::of(&x), WeightView::of(&w), Some(&[10.0, 20.0]), &mut y)?;
/// assert!((y[0] - 14.0).abs() < 0.02 && (y[1] - 21.0).abs() < 0.02); // x is rounded to int8
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn matmul_w2a8(
    x: QuantizedView<'_>,
    w: WeightView<'_>,
    bias: Option<&[f32]>,
    y: &mut [f32],
) -> Result<(), CpuError> {
    matmul_w2a8_with(Isa::detect(), x, w, bias, y)
}

/// [`matmul_w2a8`] on a given instruction set.
///
/// # Errors
/// Those of [`matmul_w2a8`], and [`CpuError::Unavailable`].
pub fn matmul_w2a8_with(
    isa: Isa,
    x: QuantizedView<'_>,
    w: WeightView<'_>,
    bias: Option<&[f32]>,
    y: &mut [f32],
) -> Result<(), CpuError> {
    check(isa, &x, &w, "y", y.len())?;
    if let Some(bias) = bias {
        expect_len("bias", bias.len(), w.layout().out_features())?;
    }
    let scales = RowScales::new(&w);
    let output = Output::Float {
        y: OutPtr::new(y),
        scales: &scales,
        tokens: x.scales(),
        bias,
    };
    run(isa, &x, &w, output);
    Ok(())
}

/// The i32 products of the codes alone, `acc[m, n] = Σ_k q[m, k] · value(code[n, k])`, `[M, N]`.
///
/// # Errors
/// As [`matmul_w2a8`], and [`CpuError::GroupScales`] where rows carry a scale per group.
pub fn matmul_w2a8_i32(
    x: QuantizedView<'_>,
    w: WeightView<'_>,
    acc: &mut [i32],
) -> Result<(), CpuError> {
    matmul_w2a8_i32_with(Isa::detect(), x, w, acc)
}

/// [`matmul_w2a8_i32`] on a given instruction set.
///
/// # Errors
/// Those of [`matmul_w2a8_i32`], and [`CpuError::Unavailable`].
pub fn matmul_w2a8_i32_with(
    isa: Isa,
    x: QuantizedView<'_>,
    w: WeightView<'_>,
    acc: &mut [i32],
) -> Result<(), CpuError> {
    check(isa, &x, &w, "acc", acc.len())?;
    if let Some(group) = w.group() {
        return Err(CpuError::GroupScales { group });
    }
    run(isa, &x, &w, Output::Int(OutPtr::new(acc)));
    Ok(())
}

fn check(
    isa: Isa,
    x: &QuantizedView<'_>,
    w: &WeightView<'_>,
    operand: &'static str,
    out_len: usize,
) -> Result<(), CpuError> {
    isa.require()?;
    if x.in_features() != w.layout().in_features() {
        return Err(CpuError::InFeatures {
            activations: x.in_features(),
            weights: w.layout().in_features(),
        });
    }
    expect_len(operand, out_len, area(x.rows(), w.layout().out_features())?)
}

/// Weight rows of one task: their codes stay in the level-2 cache while tokens pass over them.
const TASK_ROWS: usize = 128;
/// Tokens of one task.
const TASK_TOKENS: usize = 256;

fn run(isa: Isa, x: &QuantizedView<'_>, w: &WeightView<'_>, output: Output<'_>) {
    if x.rows() == 0 {
        return;
    }
    let planes = Planes::new(x, w.group());
    let job = W2A8Job::new(w, &planes, output);
    let (m, n, k) = (x.rows(), w.layout().out_features(), x.in_features());
    let parallel = parallel::worth_it(m.saturating_mul(n).saturating_mul(k));

    for first in (0..m).step_by(TASK_TOKENS) {
        let tokens = first..(first + TASK_TOKENS).min(m);
        #[cfg(target_arch = "x86_64")]
        if isa == Isa::Amx && tokens.len() >= amx::MIN_TOKENS && w.group().is_none() {
            // SAFETY: `check` made sure that AMX is available, which includes AVX-512; the
            // operands were checked against each other.
            unsafe { amx::run(&job, tokens, parallel) };
            continue;
        }
        #[cfg(target_arch = "x86_64")]
        if isa == Isa::Avx2 && tokens.len() >= panel::MIN_TOKENS && w.group().is_none() {
            // SAFETY: `check` made sure that AVX2 is available; the operands were checked against
            // each other.
            unsafe { panel::run(&job, tokens, parallel) };
            continue;
        }
        parallel::for_ranges(parallel, n, tile::ROWS, TASK_ROWS, |rows| {
            // SAFETY: `check` made sure that the set is available; the operands were checked
            // against each other, and tasks own disjoint rows of the output.
            unsafe { kernel(isa)(&job, rows, tokens.clone()) }
        });
    }
}

/// Computes the outputs of some rows and tokens.
type Kernel = unsafe fn(&W2A8Job<'_>, Range<usize>, Range<usize>);

fn kernel(isa: Isa) -> Kernel {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni | Isa::Amx => avx512::run,
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni => avx_vnni::run,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => avx2::run,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => neon::run,
        #[cfg(target_arch = "aarch64")]
        Isa::NeonDot => neon::run_dot,
        _ => portable::run,
    }
}
