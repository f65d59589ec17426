//! Float activations times codes of 2, 3 or 4 bits with a scale and a zero point per group.

#![allow(
    clippy::needless_range_loop,
    reason = "tiles are indexed by row and token"
)]

mod activations;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
mod tile;
mod view;

use crate::error::{CpuError, area, expect_len};
use crate::isa::Isa;
use crate::parallel::{self, OutPtr};
use activations::Activations;
use tile::AffineJob;

pub use view::{AffineOperands, AffineView, FloatsView};

/// `y[m, n] = Σ_k x[m, k] · w[n, k] + bias[n]` in f32, with `w = (code - zero) · scale` as
/// [`dequantize`](tritburn_formats::AffineMatrix::dequantize) gives it, bit for bit; dropped weights
/// of 16:32 sparsity are 0.
///
/// `x` is `[M, K]` in the order of the inputs, `y` `[M, N]`, `bias` `[N]`; M follows from the length of
/// `x`. Codes are decoded in registers. The order of the sums depends on the instruction set and on
/// nothing else: an output is within `(K + 2) · 2⁻²⁴ · (Σ|x·w| + |bias|)` of the exact product. A row
/// of `x` that holds a NaN gives a NaN row.
///
/// # Errors
/// [`CpuError::Length`] if `x` is no whole number of rows, or `bias` or `y` does not fit.
///
/// # Examples
///
/// ```
/// use tritburn_cpu::{AffineView, matmul_affine};
/// use tritburn_formats::affine::{AffineLayout, Bits};
/// use tritburn_formats::quantize::affine::round_to_nearest;
///
/// let layout = AffineLayout::new([2, 2], Bits::Four, None)?;
/// let w = round_to_nearest(&[3.5, -3.0, 7.0, -2.0], &layout)?;
/// let mut y = [0.0; 4]; // two tokens
/// matmul_affine(&[3.0, 1.0, 0.0, 2.0], AffineView::of(&w), None, &mut y)?;
/// assert_eq!(y, [7.5, 19.0, -6.0, -4.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn matmul_affine(
    x: &[f32],
    w: AffineView<'_>,
    bias: Option<&[f32]>,
    y: &mut [f32],
) -> Result<(), CpuError> {
    matmul_affine_with(Isa::detect(), x, w, bias, y)
}

/// [`matmul_affine`] on a given instruction set.
///
/// # Errors
/// Those of [`matmul_affine`], and [`CpuError::Unavailable`].
pub fn matmul_affine_with(
    isa: Isa,
    x: &[f32],
    w: AffineView<'_>,
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
    let alternating = matches!(isa, Isa::Avx512Vnni | Isa::Amx) && !w.layout().is_sparse();
    let activations = Activations::new(x, k, w.order(), alternating);
    let job = AffineJob::new(&activations, &w, bias, OutPtr::new(y));
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
