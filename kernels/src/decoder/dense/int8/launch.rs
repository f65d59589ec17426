//! Checked launch of the product of int8 rows.

use cubecl::prelude::*;

use super::super::FEW_TOKENS;
use super::super::cuda::{self, TablePlan};
use super::base::{Int8Plan, MAX_INPUTS};
use super::kernel::{Int8ExtentsLaunch, int8_rows};
use crate::device::{DeviceFacts, address, cubes};
use crate::device_code::team::planes;
use crate::error::KernelError;
use crate::operand::{FloatMatrix, FloatType, QuantizedActivations};

/// `y[t, v] = acc · (w_scale[v] · x_scale[t])` for int8 tokens `x` `[T, K]`, int8 rows `w` `[V, K]` and `y`
/// f32 `[T, V]`; `acc` is the exact sum of the products of codes. T = 0 launches nothing.
///
/// # Errors
/// [`KernelError`] if shapes differ, y is not f32, or rows have 131072 columns or more.
pub fn launch(
    client: &Client,
    x: &QuantizedActivations,
    w: &QuantizedActivations,
    y: &FloatMatrix,
) -> Result<(), KernelError> {
    let (tokens, rows, cols) = (x.rows(), w.rows(), w.cols());
    if x.cols() != cols {
        return Err(KernelError::Shape {
            operand: "x",
            expected: [tokens, cols],
            found: [tokens, x.cols()],
        });
    }
    if cols >= MAX_INPUTS {
        return Err(KernelError::InFeatures {
            operand: "weights",
            in_features: cols,
            max: MAX_INPUTS - 1,
        });
    }
    y.check(client, "y", [tokens, rows])?;
    FloatType::F32.expect("y", y.dtype())?;
    if tokens == 0 || rows == 0 {
        return Ok(());
    }
    if tokens > FEW_TOKENS && crate::dense::runs_int8(client) {
        return crate::dense::launch_int8(client, x, w, y);
    }
    let device = DeviceFacts::of(client);
    if let Some(plan) = TablePlan::int8(x, &device) {
        return cuda::launch_int8(client, x, w, y, &device, plan);
    }
    let plan = Int8Plan::new(tokens, planes(client), &device);
    let teams = plan.teams;
    let count = rows.div_ceil(teams.rows) * tokens.div_ceil(teams.tokens);
    let (x_codes, w_codes) = (x.codes(), w.codes());
    // SAFETY: the buffers cover their operands, and the kernel stays within them.
    unsafe {
        int8_rows::launch_unchecked(
            client,
            cubes(client, count, teams.teams())?,
            CubeDim::new_1d(teams.units as u32),
            address(client, &[x_codes.len(), w_codes.len(), y.extent()])?,
            x_codes.lines(4),
            x.scales().arg(),
            w_codes.lines(4),
            w.scales().arg(),
            y.lines(1),
            Int8ExtentsLaunch::new(
                tokens,
                rows,
                QuantizedActivations::words_per_row(cols) / 4,
                y.row_stride(),
            ),
            plan,
        );
    }
    Ok(())
}
