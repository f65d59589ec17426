//! Float activations times 2-bit weights, f32 sums.

#![allow(
    clippy::needless_range_loop,
    reason = "tiles are indexed by row and token"
)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
mod tile;

use crate::error::{CpuError, area, expect_len};
use crate::isa::Isa;
use crate::parallel::{self, OutPtr};
use crate::view::WeightView;
use tile::W2A16Job;

/// `y[m, n] = (Σ_k x[m, k] · value(code[n, k])) · (γ·unit) + bias[n]` in f32.
///
/// `x` is `[M, K]`, `y` `[M, N]`, `bias` `[N]`; M follows from the length of `x`. Where rows carry
/// a scale per group, each group's sum is scaled before it is added. The order of the sums depends
/// on the instruction set and on nothing else. A row of `x` that holds a NaN gives a NaN row.
///
/// # Errors
/// [`CpuError::Length`] if `x` is no whole number of rows, or `bias` or `y` does not fit.
///
/// # Examples
///
/// ```
/// use tritburn_cpu::{WeightView, matmul_w2a16};
/// use tritburn_formats::quantize::pack_weights;
/// use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};
///
/// let layout = PackedLayout::new(2, 2, WeightCode::Ternary, ScaleGranularity::Row)?;
/// let w = pack_weights(&[1.0, 1.0, 0.5, -0.5], &layout)?;
/// let mut y = [0.0; 4]; // two tokens
/// matmul_w2a16(&[3.0, 1.0, 0.0, 2.0], WeightView::of(&w), None, &mut y)?;
/// assert_eq!(y, [4.0, 1.0, 2.0, -1.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn matmul_w2a16(
    x: &[f32],
    w: WeightView<'_>,
    bias: Option<&[f32]>,
    y: &mut [f32],
) -> Result<(), CpuError> {
    matmul_w2a16_with(Isa::detect(), x, w, bias, y)
}

/// [`matmul_w2a16`] on a given instruction set.
///
/// # Errors
/// Those of [`matmul_w2a16`], and [`CpuError::Unavailable`].
pub fn matmul_w2a16_with(
    isa: Isa,
    x: &[f32],
    w: WeightView<'_>,
    bias: Option<&[f32]>,
    y: &mut [f32],
) -> Result<(), CpuError> {
    isa.require()?;
    let (n, k) = (w.layout().out_features(), w.layout().in_features());
    let m = x.len() / k;
    expect_len("x", x.len(), m * k)?;
    expect_len("y", y.len(), area(m, n)?)?;
    if let Some(bias) = bias {
        expect_len("bias", bias.len(), n)?;
    }
    let job = W2A16Job::new(x, &w, bias, OutPtr::new(y));
    let parallel = parallel::worth_it(m.saturating_mul(n).saturating_mul(k));
    parallel::for_ranges(parallel, n, tile::MAX_ROWS, TASK_ROWS, |rows| {
        // SAFETY: the set is available, the operands were checked against each other, and tasks
        // own disjoint rows of the output.
        unsafe {
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512Vnni | Isa::Amx => avx512::run(&job, rows, 0..m),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 | Isa::AvxVnni => avx2::run(&job, rows, 0..m),
                #[cfg(target_arch = "aarch64")]
                Isa::Neon | Isa::NeonDot => neon::run(&job, rows, 0..m),
                _ => portable::run(&job, rows, 0..m),
            }
        }
    });
    Ok(())
}

/// Weight rows of one task.
const TASK_ROWS: usize = 64;
