//! Checked launch of the product with a float table.

use cubecl::prelude::*;

use super::FEW_TOKENS;
use super::base::DensePlan;
use super::cuda::{self, TablePlan};
use super::kernel::{DenseExtentsLaunch, dense};
use crate::dense::{DenseOperand, Depth};
use crate::device::{DeviceFacts, address, cubes};
use crate::device_code::team::planes;
use crate::error::KernelError;
use crate::operand::{FloatMatrix, FloatType};

/// `y = x · Wᵀ` for `x` `[T, K]` and `W` `[V, K]` of any float types and `y` f32 `[T, V]`. T = 0 launches
/// nothing.
///
/// # Errors
/// [`KernelError`] if shapes differ, y is not f32, W is empty or the device lacks a type.
pub fn launch(
    client: &Client,
    x: &FloatMatrix,
    w: &FloatMatrix,
    y: &FloatMatrix,
) -> Result<(), KernelError> {
    let (tokens, rows, cols) = (x.rows(), w.rows(), w.cols());
    x.check(client, "x", [tokens, cols])?;
    y.check(client, "y", [tokens, rows])?;
    FloatType::F32.expect("y", y.dtype())?;
    w.check(client, "weights", [rows, cols])?;
    if tokens == 0 || rows == 0 {
        return Ok(());
    }
    if tokens > FEW_TOKENS {
        let [left, right] = [x, w].map(|matrix| DenseOperand {
            matrix,
            depth: Depth::Columns,
        });
        if crate::dense::runs(client, left, right) {
            return crate::dense::launch(client, left, right, y, false);
        }
    }
    let device = DeviceFacts::of(client);
    if let Some(plan) = TablePlan::half(x, w, &device) {
        return cuda::launch_half(client, x, w, y, &device, plan);
    }
    let plan = DensePlan::new(tokens, planes(client), &device);
    let w_width = w.line_width();
    let x_width = x.line_width().min(w_width);
    let teams = rows.div_ceil(plan.rows) * tokens.div_ceil(plan.tokens);
    // SAFETY: the buffers cover their operands, and the kernel stays within them.
    unsafe {
        dense::launch_unchecked(
            client,
            cubes(client, teams, plan.teams())?,
            CubeDim::new_1d(plan.units as u32),
            address(client, &[x.extent(), w.extent(), y.extent()])?,
            x_width,
            w_width,
            x.lines(x_width),
            w.lines(w_width),
            y.lines(1),
            DenseExtentsLaunch::new(
                tokens,
                rows,
                cols,
                cols.div_ceil(w_width),
                w.row_stride() / w_width,
                x.row_stride(),
                y.row_stride(),
            ),
            plan,
            x.dtype().elem(),
            w.dtype().elem(),
        );
    }
    Ok(())
}
