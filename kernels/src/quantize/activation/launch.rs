//! Checked launch of the activation quantiser.

use cubecl::prelude::*;

use super::base::{ActivationBlueprint, ActivationProblem};
use super::kernel::quantize;
use super::lines::{LinePlan, quantize_lines};
use crate::device::{DeviceFacts, address, cubes};
use crate::error::KernelError;
use crate::operand::{FloatMatrix, QuantizedActivations};

/// Quantises `x` `[M, K]` into `out`, which the caller allocated. M = 0 launches nothing.
///
/// # Errors
/// [`KernelError`] if the shapes differ or the device lacks the element type.
pub fn launch(
    client: &Client,
    x: &FloatMatrix,
    out: &QuantizedActivations,
) -> Result<(), KernelError> {
    launch_with(client, x, out, None)
}

/// As [`launch`], with a plan of the caller's choice.
///
/// # Errors
/// As [`launch`], and [`KernelError::Plan`].
pub fn launch_with(
    client: &Client,
    x: &FloatMatrix,
    out: &QuantizedActivations,
    plan: Option<ActivationBlueprint>,
) -> Result<(), KernelError> {
    x.check(client, "x", [out.rows(), out.cols()])?;
    let problem = ActivationProblem {
        rows: out.rows(),
        cols: out.cols(),
    };
    let device = DeviceFacts::of(client);
    if plan.is_none()
        && problem.rows > 0
        && let Some(plan) = LinePlan::new(client, x, &device)
    {
        return launch_lines(client, x, out, plan);
    }
    let plan = plan.unwrap_or_else(|| ActivationBlueprint::new(&problem, &device));
    plan.validate(&device)?;
    if problem.rows == 0 {
        return Ok(());
    }
    // SAFETY: the buffers cover their operands, and the kernel stays within them.
    unsafe {
        quantize::launch_unchecked(
            client,
            cubes(client, problem.rows, plan.rows_per_cube())?,
            CubeDim::new_1d(plan.cube_units as u32),
            address(client, &[x.extent(), out.codes().len()])?,
            x.lines(1),
            out.codes().arg(),
            out.scales().arg(),
            problem.rows,
            problem.cols,
            x.row_stride(),
            QuantizedActivations::words_per_row(problem.cols),
            plan,
            x.dtype().elem(),
        );
    }
    Ok(())
}

fn launch_lines(
    client: &Client,
    x: &FloatMatrix,
    out: &QuantizedActivations,
    plan: LinePlan,
) -> Result<(), KernelError> {
    let width = x.line_width();
    // SAFETY: the buffers cover the operands' shapes, rows are whole lines of both, and the kernel
    // accesses nothing outside of them.
    unsafe {
        quantize_lines::launch_unchecked(
            client,
            cubes(client, out.rows(), plan.rows)?,
            CubeDim::new_1d((plan.units * plan.rows) as u32),
            address(client, &[x.extent(), out.codes().len()])?,
            width,
            width / 4,
            x.lines(width),
            out.codes().lines(width / 4),
            out.scales().arg(),
            out.rows(),
            out.cols() / width,
            x.row_stride() / width,
            plan,
            x.dtype().elem(),
        );
    }
    Ok(())
}
