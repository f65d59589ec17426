//! Gradients of norms and of gated units: rows are computed again from their input, so that
//! nothing else is kept of the forward pass.

use super::rows::sum_over_tokens;
use crate::error::{CpuError, expect_len};
use crate::isa::Isa;
use crate::lm::norm::{dot, row_count};
use crate::lm::vector::{self, Lanes, Work};
use crate::lm::{Gate, RmsNorm};
use crate::parallel::{self, OutPtr};

/// Gradients of `y = γ · x̂` with `x̂ = x · r`, `r = 1/√(mean(x²) + ε)` (Zhang & Sennrich 2019,
/// arXiv 1910.07467): with `g = dy · γ`,
///
/// `dx = r · (g - x̂ · mean(g · x̂))` for x, dy and dx `[T, K]`, and `dγ = Σ_t dy · x̂` `[K]`.
///
/// # Errors
/// [`CpuError::EmptyRow`] if K, the length of `gamma`, is zero, [`CpuError::Length`] if a slice
/// does not fit.
pub fn rms_norm_backward(
    x: &[f32],
    norm: RmsNorm<'_>,
    dy: &[f32],
    dx: &mut [f32],
    dgamma: &mut [f32],
) -> Result<(), CpuError> {
    let k = norm.gamma.len();
    let tokens = row_count("x", x.len(), k)?;
    expect_len("dy", dy.len(), x.len())?;
    expect_len("dx", dx.len(), x.len())?;
    expect_len("dgamma", dgamma.len(), k)?;
    let isa = Isa::detect();
    let dx = OutPtr::new(dx);
    sum_over_tokens(is_parallel(tokens, k), tokens, dgamma, |tokens, dgamma| {
        for token in tokens {
            let at = token * k;
            let row = NormRow {
                x: &x[at..][..k],
                norm,
                dy: &dy[at..][..k],
                // SAFETY: the token is this task's own.
                dx: unsafe { dx.slice(at, k) },
                dgamma: &mut *dgamma,
            };
            // SAFETY: a detected set is available.
            unsafe { vector::run(isa, row) };
        }
    });
    Ok(())
}

/// Gradients of [`gated`](crate::gated): `d_gate_up` `[T, 2·k]` from `gate_up` `[T, 2·k]` and dy
/// `[T, k]`, and `dgamma` `[k]` if the unit has a norm. With `dh` the gradient of
/// `h = f(gate) · up`: `d_gate = dh · up · f'(gate)`, `d_up = dh · f(gate)`.
///
/// # Errors
/// [`CpuError::EmptyRow`] if `k` is zero, [`CpuError::Length`] if a slice does not fit. Without a
/// norm `dgamma` is empty.
pub fn gated_backward(
    gate_up: &[f32],
    k: usize,
    gate: Gate<'_>,
    dy: &[f32],
    d_gate_up: &mut [f32],
    dgamma: &mut [f32],
) -> Result<(), CpuError> {
    let tokens = gate.rows(gate_up, k)?;
    expect_len("dy", dy.len(), tokens * k)?;
    expect_len("d_gate_up", d_gate_up.len(), gate_up.len())?;
    expect_len("dgamma", dgamma.len(), gate.norm.map_or(0, |_| k))?;
    let isa = Isa::detect();
    let out = OutPtr::new(d_gate_up);
    sum_over_tokens(is_parallel(tokens, k), tokens, dgamma, |tokens, dgamma| {
        let mut scratch = vec![0.0; 2 * k];
        for token in tokens {
            let row = GateRow {
                gate_up: &gate_up[token * 2 * k..][..2 * k],
                gate,
                dy: &dy[token * k..][..k],
                // SAFETY: the token is this task's own.
                d_gate_up: unsafe { out.slice(token * 2 * k, 2 * k) },
                dgamma: &mut *dgamma,
                scratch: &mut scratch,
            };
            // SAFETY: a detected set is available.
            unsafe { vector::run(isa, row) };
        }
    });
    Ok(())
}

/// An element takes about as long as sixteen multiply-adds of a product.
fn is_parallel(tokens: usize, k: usize) -> bool {
    parallel::worth_it(tokens.saturating_mul(k).saturating_mul(16))
}

/// One row of a norm.
struct NormRow<'a> {
    x: &'a [f32],
    norm: RmsNorm<'a>,
    dy: &'a [f32],
    dx: &'a mut [f32],
    dgamma: &'a mut [f32],
}

impl Work for NormRow<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Self {
            x,
            norm,
            dy,
            dx,
            dgamma,
        } = self;
        let r = norm.scale(x);
        // dx holds g until its mean with x is known.
        for (g, (dy, gamma)) in dx.iter_mut().zip(dy.iter().zip(norm.gamma)) {
            *g = dy * gamma;
        }
        let mean = dot(dx, x) * r / x.len() as f32;
        for (dx, x) in dx.iter_mut().zip(x) {
            *dx = r * (*dx - x * r * mean);
        }
        for (sum, (dy, x)) in dgamma.iter_mut().zip(dy.iter().zip(x)) {
            *sum += dy * (x * r);
        }
    }
}

/// One row of a gated unit.
struct GateRow<'a> {
    gate_up: &'a [f32],
    gate: Gate<'a>,
    dy: &'a [f32],
    d_gate_up: &'a mut [f32],
    dgamma: &'a mut [f32],
    /// Room for two rows.
    scratch: &'a mut [f32],
}

impl Work for GateRow<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let k = self.dy.len();
        let (gate, up) = self.gate_up.split_at(k);
        let (d_gate, d_up) = self.d_gate_up.split_at_mut(k);
        let (h, dh) = self.scratch.split_at_mut(k);
        let activation = self.gate.activation;
        let dh = match self.gate.norm {
            None => self.dy,
            Some(norm) => {
                activation.apply(gate, up, h);
                let row = NormRow {
                    x: h,
                    norm,
                    dy: self.dy,
                    dx: &mut *dh,
                    dgamma: self.dgamma,
                };
                // SAFETY: the caller's promise.
                unsafe { row.run::<L>() };
                &*dh
            }
        };
        for i in 0..k {
            let (value, slope) = activation.value_and_slope(gate[i]);
            d_gate[i] = dh[i] * up[i] * slope;
            d_up[i] = dh[i] * value;
        }
    }
}
