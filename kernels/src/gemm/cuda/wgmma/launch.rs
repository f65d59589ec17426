//! Launch of the warpgroup GEMM; `matmul` has checked the operands.

use cubecl::prelude::*;

use super::base::WgmmaBlueprint;
use super::kernel::{WgmmaExtentsLaunch, wgmma};
use crate::device::{DeviceFacts, address};
use crate::error::KernelError;
use crate::gemv::cuda::Operand;
use crate::matmul::{Call, Input};
use crate::operand::QuantizedActivations;
use crate::prepack::PrepackedWeights;

/// Runs `call` with `plan`. M = 0 launches nothing.
///
/// # Errors
/// [`KernelError::Plan`] or [`KernelError::AddressWidth`].
pub(crate) fn launch(
    client: &Client,
    call: &Call<'_>,
    weights: &PrepackedWeights,
    device: &DeviceFacts,
    plan: WgmmaBlueprint,
) -> Result<(), KernelError> {
    let operand = Operand::of(&call.x);
    plan.validate(operand.types, device)?;
    let problem = &call.problem;
    let (x, x_scales, x_stride, x_bytes, x_type, lines) = match &call.x {
        Input::Int8(x) => {
            let bytes = 4 * QuantizedActivations::words_per_row(problem.k);
            let scales = Some(x.scales().arg());
            (
                x.codes().arg(),
                scales,
                bytes,
                bytes,
                u32::elem_type_native(),
                true,
            )
        }
        Input::Float(x) => {
            let size = x.dtype().size();
            let (stride, bytes) = (x.row_stride() * size, problem.k * size);
            (
                x.lines(1),
                None,
                stride,
                bytes,
                x.dtype().elem(),
                x.starts_lines(),
            )
        }
    };
    if !lines || operand.terms != 1 {
        let reason = "activations must be int8, or f16 or bf16 with rows at multiples of 16 bytes";
        return Err(KernelError::Plan {
            reason: reason.into(),
        });
    }
    if problem.m == 0 {
        return Ok(());
    }
    let fragments = weights.fragment_layout();
    let tiles = problem.n.div_ceil(plan.rows()) * problem.m.div_ceil(plan.tokens);
    let cores = device.cuda.map_or(1, |cuda| cuda.multiprocessors as usize);
    let cubes = match plan.splits {
        1 => tiles.min(cores),
        splits if plan.divides(fragments.col_tiles()) => tiles * splits,
        splits => {
            let steps = fragments.col_tiles();
            let reason = format!("{splits} cubes cannot share {steps} tiles of 128 columns");
            return Err(KernelError::Plan { reason });
        }
    };
    let count = CubeCount::Static(cubes as u32, 1, 1);
    let dim = CubeDim::new_1d(plan.units() as u32);
    let address = address(client, &call.extents())?;
    let width = call.pair_width();
    let (y, y_stride, y_type) = call.output_lines(width);
    let extents = WgmmaExtentsLaunch::new(
        problem.m,
        problem.n,
        fragments.col_tiles(),
        fragments.row_tiles(),
        x_stride,
        x_bytes,
        y_stride,
    );
    // SAFETY: `Call` holds operands that fit together, and the kernel stays inside of them.
    unsafe {
        wgmma::launch_unchecked(
            client,
            count,
            dim,
            address,
            width,
            x,
            x_scales.into(),
            weights.words().arg(),
            weights.row_scales().arg(),
            call.bias.map(|bias| bias.arg()).into(),
            y,
            extents,
            problem.code,
            operand.types,
            call.integers(),
            plan,
            x_type,
            operand.types.accumulator(),
            y_type,
            call.bias_dtype(),
        );
    }
    Ok(())
}
