//! Launch of the warpgroup GEMM; `product` has checked the operands.

use cubecl::prelude::*;

use super::base::WgmmaBlueprint;
use super::kernel::wgmma;
use super::multicast::wgmma_multicast;
use crate::device::DeviceFacts;
use crate::error::KernelError;
use crate::prepack::PrepackedWeights;
use crate::product::Call;
use crate::product::cuda::MmaInput;
use crate::product::cuda::args::{Binding, product_args};
use crate::product::cuda::input::{InputLines, tensor_map};

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
    let types = MmaInput::of(call.problem.activations).types;
    plan.validate(types, device)?;
    let input = InputLines::of(call)?;
    let problem = &call.problem;
    if problem.m == 0 {
        return Ok(());
    }
    let fragments = weights.fragment_layout();
    let tiles = plan.output_tiles(problem);
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
    let bound = Binding::of(client, call)?;
    // SAFETY: `Call` holds operands that fit together, and the kernels access nothing outside of them;
    // a tensor map clips copies to its matrix.
    unsafe {
        if plan.multicast > 1 {
            let tile = [plan.tokens / plan.multicast, plan.box_columns(types)];
            wgmma_multicast::launch_unchecked(
                client,
                count,
                dim,
                bound.address,
                bound.width,
                tensor_map(call, tile),
                product_args(call, weights, input.tokens, bound.y_stride),
                bound.y,
                types,
                plan,
                input.dtype,
                types.accumulator(),
                bound.y_type,
                bound.bias_type,
            );
        } else {
            wgmma::launch_unchecked(
                client,
                count,
                dim,
                bound.address,
                bound.width,
                input.x,
                product_args(call, weights, input.tokens, bound.y_stride),
                bound.y,
                types,
                plan,
                input.dtype,
                types.accumulator(),
                bound.y_type,
                bound.bias_type,
            );
        }
    }
    Ok(())
}
