//! Checked launch of the dense products.

use cubecl::prelude::*;

use super::base::{DensePlan, DenseWeights};
use super::cuda::{self, TablePlan};
use super::kernel::{DenseExtentsLaunch, dense};
use crate::device::{DeviceFacts, address, cubes};
use crate::device_code::team::planes;
use crate::error::KernelError;
use crate::operand::{FloatMatrix, FloatType, QuantizedActivations};

/// `y = x · Wᵀ` for `x` `[T, K]` of any float type and `y` f32 `[T, V]`. W is read once for every 16
/// tokens (32 on tensor cores). T = 0 launches nothing.
///
/// # Errors
/// [`KernelError`] if shapes differ, y is not f32, W is empty or the device lacks a type.
pub fn launch(
    client: &Client,
    x: &FloatMatrix,
    weights: DenseWeights<'_>,
    y: &FloatMatrix,
) -> Result<(), KernelError> {
    let (tokens, rows, cols) = (x.rows(), weights.rows(), weights.cols());
    x.check(client, "x", [tokens, cols])?;
    y.check(client, "y", [tokens, rows])?;
    FloatType::F32.expect("y", y.dtype())?;
    if let DenseWeights::Float(w) = weights {
        w.check(client, "weights", [rows, cols])?;
    }
    if tokens == 0 || rows == 0 {
        return Ok(());
    }
    let device = DeviceFacts::of(client);
    if let DenseWeights::Float(w) = weights
        && let Some(plan) = TablePlan::new(x, w, &device)
    {
        return cuda::launch(client, x, w, y, &device, plan);
    }
    let plan = DensePlan::new(tokens, planes(client), &device);
    let (w, w_width, values, w_stride, w_extent, w_type, scales) = match weights {
        DenseWeights::Float(w) => {
            let width = w.line_width();
            let stride = w.row_stride() / width;
            let extent = w.extent();
            let dtype = w.dtype().elem();
            (w.lines(width), width, width, stride, extent, dtype, None)
        }
        DenseWeights::Int8(w) => {
            let stride = QuantizedActivations::words_per_row(cols) / 4;
            let (words, scales) = (w.codes(), Some(w.scales().arg()));
            let dtype = u32::elem_type_native();
            (words.lines(4), 4, 16, stride, words.len(), dtype, scales)
        }
    };
    let x_width = x.line_width().min(values);
    let teams = rows.div_ceil(plan.rows) * tokens.div_ceil(plan.tokens);
    // SAFETY: the buffers cover their operands, and the kernel stays within them.
    unsafe {
        dense::launch_unchecked(
            client,
            cubes(client, teams, plan.teams())?,
            CubeDim::new_1d(plan.units as u32),
            address(client, &[x.extent(), w_extent, y.extent()])?,
            x_width,
            w_width,
            x.lines(x_width),
            w,
            scales.into(),
            y.lines(1),
            DenseExtentsLaunch::new(
                tokens,
                rows,
                cols,
                cols.div_ceil(values),
                w_stride,
                x.row_stride(),
                y.row_stride(),
            ),
            plan,
            x.dtype().elem(),
            w_type,
        );
    }
    Ok(())
}
