//! The gated unit `h = gate(g) · u`, optionally with the norm and quantiser that follow it, in one
//! launch. `g` is the first half of the columns of `gate_up`, `u` the second. Arithmetic is f32, so that
//! no product overflows f16.

mod backward;
mod elementwise;

use cubecl::prelude::*;

use crate::decoder::norm::{RowOutput, Rows, Source, launch_rows};
use crate::error::KernelError;
use crate::operand::{FloatMatrix, FloatVector};

pub use backward::{NormGradient, backward};

/// The function of `gate` that `up` is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GatedActivation {
    /// `max(g, 0)²`, as BitNet b1.58 has it (So et al. 2021, <https://arxiv.org/abs/2109.08668>).
    SquaredRelu,
    /// `g · sigmoid(g)` (Shazeer 2020, <https://arxiv.org/abs/2002.05202>).
    Silu,
    /// `g · Φ(g)` with the normal distribution's Φ (Hendrycks & Gimpel 2016, <https://arxiv.org/abs/1606.08415>).
    Gelu,
    /// GELU with `Φ(g) ≈ σ(√(8/π) · (g + 0.044715 g³))`, as Gemma has it (the same paper).
    GeluTanh,
}

/// `out = gate(g) · u` for `gate_up` `[T, 2I]`. With `norm`, which holds `gamma` `[I]` of any float type
/// and eps, `out = gamma · rms_norm(gate(g) · u)`. Float outputs have the type of `gate_up`; int8
/// outputs need the norm. T = 0 launches nothing.
///
/// # Errors
/// [`KernelError`] if shapes or types differ, `gate_up` has an odd number of columns, int8 output is
/// asked without a norm, or the device lacks a type.
pub fn launch(
    client: &Client,
    gate_up: &FloatMatrix,
    activation: GatedActivation,
    norm: Option<(&FloatVector, f32)>,
    out: RowOutput<'_>,
) -> Result<(), KernelError> {
    let cols = half_of(gate_up)?;
    let source = Source::Gated(activation);
    match (norm, out) {
        (Some((gamma, eps)), out) => {
            let rows = Rows {
                x: gate_up,
                cols,
                source,
                add: None,
                sum: None,
                gamma,
                eps,
                out,
            };
            launch_rows(client, &rows)
        }
        (None, RowOutput::Float(y)) => elementwise::forward(client, gate_up, source, y),
        (None, RowOutput::Int8(_)) => Err(KernelError::Plan {
            reason: "a gated unit without a norm writes floats, not int8".into(),
        }),
    }
}

/// Columns of gate: half of those of `gate_up`.
fn half_of(gate_up: &FloatMatrix) -> Result<usize, KernelError> {
    match gate_up.cols().is_multiple_of(2) {
        true => Ok(gate_up.cols() / 2),
        false => Err(KernelError::Unsupported {
            what: "columns of gate and up",
            found: gate_up.cols(),
            allowed: "even numbers",
        }),
    }
}
