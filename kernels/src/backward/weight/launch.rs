//! Checked launch of the weight gradient.

use cubecl::prelude::*;

use super::base::{WeightBlueprint, WeightProblem};
use super::kernel::weight_gradient;
use super::wgmma;
use crate::device::{DeviceFacts, address, cubes};
use crate::device_code::extents::ExtentsLaunch;
use crate::error::KernelError;
use crate::operand::{FloatMatrix, QuantizedActivations};

/// `dW = dYᵀ · X̂`: `dy` `[M, N]`, `x` `[M, K]`, `dw` `[N, K]`. M = 0 writes zeros.
///
/// # Errors
/// [`KernelError`] if the shapes differ, dW has no rows, or the device lacks an element type.
pub fn launch(
    client: &Client,
    dy: &FloatMatrix,
    x: &QuantizedActivations,
    dw: &FloatMatrix,
) -> Result<(), KernelError> {
    let (m, n, k) = (x.rows(), dy.cols(), x.cols());
    dy.check(client, "dy", [m, n])?;
    dw.check(client, "dw", [n, k])?;
    let device = DeviceFacts::of(client);
    if wgmma::fits(dy, &device) {
        return wgmma::launch(client, dy, x, dw, &device);
    }
    let lines = QuantizedActivations::words_per_row(k) / 4;
    let problem = WeightProblem { n, lines };
    let plan = WeightBlueprint::new(&problem, &device);
    // SAFETY: the buffers cover their operands, and the kernel stays within them.
    unsafe {
        weight_gradient::launch_unchecked(
            client,
            cubes(client, plan.units(&problem), device.cube_units as usize)?,
            device.cube_dim(),
            address(
                client,
                &[
                    dy.extent(),
                    dw.extent(),
                    x.codes().len(),
                    plan.units(&problem),
                ],
            )?,
            dy.lines(1),
            x.codes().lines(4),
            x.scales().arg(),
            dw.lines(1),
            dy.row_stride(),
            ExtentsLaunch::new(m, n, k, lines, lines, dw.row_stride()),
            plan,
            dy.dtype().elem(),
            dw.dtype().elem(),
        );
    }
    Ok(())
}
