//! Checked launch of the input gradient.

use cubecl::prelude::*;

use super::base::{InputBlueprint, InputProblem};
use super::kernel::input_gradient;
use super::tensor_cores;
use crate::device::{DeviceFacts, address, cubes};
use crate::device_code::decode::scale_map;
use crate::device_code::extents::ExtentsLaunch;
use crate::error::KernelError;
use crate::operand::{FloatMatrix, PackedWeights};

/// `dX = dY · Ŵ`: `dy` `[M, N]`, `dx` `[M, K]`. M = 0 launches nothing.
///
/// # Errors
/// [`KernelError`] if the shapes differ or the device lacks an element type.
pub fn launch(
    client: &Client,
    dy: &FloatMatrix,
    weights: &PackedWeights,
    dx: &FloatMatrix,
) -> Result<(), KernelError> {
    let layout = weights.layout();
    let (m, n, k) = (dy.rows(), layout.out_features(), layout.in_features());
    dy.check(client, "dy", [m, n])?;
    dx.check(client, "dx", [m, k])?;
    if m == 0 {
        return Ok(());
    }
    let device = DeviceFacts::of(client);
    if tensor_cores::fits(dy, weights, &device) {
        return tensor_cores::launch(client, dy, weights, dx, &device);
    }
    let problem = InputProblem {
        m,
        words: layout.words_per_row(),
    };
    let plan = InputBlueprint::new(&problem, &device);
    // SAFETY: the buffers cover their operands, and the kernel stays within them.
    unsafe {
        input_gradient::launch_unchecked(
            client,
            cubes(client, plan.units(&problem), device.cube_units as usize)?,
            device.cube_dim(),
            address(
                client,
                &[
                    dy.extent(),
                    dx.extent(),
                    layout.word_count(),
                    plan.units(&problem),
                ],
            )?,
            dy.lines(1),
            weights.words().arg(),
            weights.scales().arg(),
            dx.lines(1),
            scale_map(layout),
            ExtentsLaunch::new(m, n, k, problem.words, dy.row_stride(), dx.row_stride()),
            layout.code(),
            plan,
            dy.dtype().elem(),
            dx.dtype().elem(),
        );
    }
    Ok(())
}
