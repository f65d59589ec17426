//! Launch of the warpgroup GEMM; `product` has checked the operands.

use cubecl::prelude::*;

use super::base::WgmmaBlueprint;
use super::kernel::wgmma;
use super::multicast::wgmma_multicast;
use crate::device::{DeviceFacts, address};
use crate::error::KernelError;
use crate::prepack::PrepackedWeights;
use crate::product::Call;
use crate::product::cuda::Operand;
use crate::product::cuda::input::{InputLines, tensor_map};
use crate::product::cuda::stage::tile_extents;

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
    let types = Operand::of(call.problem.activations).types;
    plan.validate(types, device)?;
    let input = InputLines::of(call)?;
    let problem = &call.problem;
    if problem.m == 0 {
        return Ok(());
    }
    let fragments = weights.fragment_layout();
    let tiles = plan.tiles(problem);
    let cubes = match plan.splits {
        1 => plan.cubes(tiles, device),
        splits if plan.divides(fragments.col_tiles()) => tiles * splits,
        splits => {
            let steps = fragments.col_tiles();
            let reason = format!("{splits} cubes cannot share {steps} tiles of 128 columns");
            return Err(KernelError::Plan { reason });
        }
    };
    let count = CubeCount::Static(cubes as u32, 1, 1);
    let dim = CubeDim::new_1d(plan.cube_units() as u32);
    let address = address(client, &call.extents())?;
    let width = call.pair_width();
    let (y, y_stride, y_type) = call.output_lines(width);
    let extents = tile_extents(problem, fragments, input.stride, input.bytes, y_stride);
    if plan.multicast > 1 {
        let tile = [plan.tokens / plan.multicast, plan.box_columns(types)];
        // SAFETY: as below; copies by tensor map stay inside of its matrix.
        unsafe {
            wgmma_multicast::launch_unchecked(
                client,
                count,
                dim,
                address,
                width,
                tensor_map(call, tile),
                input.scales.into(),
                weights.words().arg(),
                weights.row_scales().arg(),
                call.bias.map(|bias| bias.arg()).into(),
                y,
                extents,
                problem.code,
                types,
                call.integers(),
                plan,
                input.dtype,
                types.accumulator(),
                y_type,
                call.bias_dtype(),
            );
        }
        return Ok(());
    }
    // SAFETY: `Call` holds operands that fit together, and the kernel stays inside of them.
    unsafe {
        wgmma::launch_unchecked(
            client,
            count,
            dim,
            address,
            width,
            input.x,
            input.scales.into(),
            weights.words().arg(),
            weights.row_scales().arg(),
            call.bias.map(|bias| bias.arg()).into(),
            y,
            extents,
            problem.code,
            types,
            call.integers(),
            plan,
            input.dtype,
            types.accumulator(),
            y_type,
            call.bias_dtype(),
        );
    }
    Ok(())
}
