//! Gradients of the gated unit.

use cubecl::prelude::*;

use super::{GatedActivation, elementwise, half_of};
use crate::decoder::norm::{RowGradients, Source, launch_gradients};
use crate::error::KernelError;
use crate::operand::{FloatMatrix, FloatVector};

/// The norm of a gated unit in its backward pass.
#[derive(Clone, Copy, Debug)]
pub struct NormGradient<'a> {
    /// Gain `[I]` of any float type.
    pub gamma: &'a FloatVector,
    /// Added to the mean square.
    pub eps: f32,
    /// Gradient of the gain, f32 `[I]`, written.
    pub dgamma: &'a FloatVector,
}

/// Gradients of what [`launch`](super::launch) computes: `d_gate_up` `[T, 2I]` from `gate_up` and
/// `dy` `[T, I]`, all of one type, and with a norm the gradient of gamma. `d_gate_up` must not alias
/// the inputs. T = 0 writes zeros to the gradient of gamma.
///
/// # Errors
/// [`KernelError`] if shapes or types differ, `gate_up` has an odd number of columns, or the device
/// lacks a type.
pub fn backward(
    client: &Client,
    gate_up: &FloatMatrix,
    activation: GatedActivation,
    norm: Option<NormGradient<'_>>,
    dy: &FloatMatrix,
    d_gate_up: &FloatMatrix,
) -> Result<(), KernelError> {
    let cols = half_of(gate_up)?;
    let source = Source::Gated(activation);
    match norm {
        Some(NormGradient { gamma, eps, dgamma }) => launch_gradients(
            client,
            &RowGradients {
                x: gate_up,
                cols,
                source,
                gamma,
                eps,
                dy,
                add: None,
                dx: d_gate_up,
                dgamma,
            },
        ),
        None => elementwise::backward(client, gate_up, source, dy, d_gate_up),
    }
}
