//! The gated unit of BitNet b1.58 with its norm and quantiser, in one launch:
//! `y = gamma · rms_norm(relu(gate)² · up)`, f32 throughout, so that no product overflows f16.

use cubecl::prelude::*;

use crate::decoder::norm::{RowOutput, Rows, Source, launch_rows};
use crate::error::KernelError;
use crate::operand::{FloatMatrix, FloatVector};

/// `out = gamma · rms_norm(relu(gate)² · up)` for `gate_up` `[T, 2I]`, the columns of gate first,
/// and `gamma` `[I]` of any float type; float outputs have the type of `gate_up`. T = 0 launches
/// nothing.
///
/// # Errors
/// [`KernelError`] if shapes or types differ, `gate_up` has an odd number of columns, or the device
/// lacks a type.
pub fn launch(
    client: &Client,
    gate_up: &FloatMatrix,
    gamma: &FloatVector,
    eps: f32,
    out: RowOutput<'_>,
) -> Result<(), KernelError> {
    if !gate_up.cols().is_multiple_of(2) {
        return Err(KernelError::Unsupported {
            what: "columns of gate and up",
            found: gate_up.cols(),
            allowed: "even numbers",
        });
    }
    let rows = Rows {
        x: gate_up,
        cols: gate_up.cols() / 2,
        source: Source::Relu2,
        add: None,
        sum: None,
        gamma,
        eps,
        out,
    };
    launch_rows(client, &rows)
}
