//! Launch of the warp GEMM; `product` has checked the operands.

use cubecl::prelude::*;

use super::base::MmaBlueprint;
use super::kernel::mma_gemm;
use crate::device::{DeviceFacts, address, cubes};
use crate::error::KernelError;
use crate::prepack::PrepackedWeights;
use crate::product::Call;
use crate::product::cuda::Operand;
use crate::product::cuda::input::InputLines;
use crate::product::cuda::stage::tile_extents;

/// Runs `call` with `plan`. M = 0 launches nothing.
///
/// # Errors
/// [`KernelError::Plan`], [`KernelError::GridTooLarge`] or [`KernelError::AddressWidth`].
pub(crate) fn launch(
    client: &Client,
    call: &Call<'_>,
    weights: &PrepackedWeights,
    device: &DeviceFacts,
    plan: MmaBlueprint,
) -> Result<(), KernelError> {
    let types = Operand::of(call.problem.activations).types;
    plan.validate(types, device)?;
    let input = InputLines::of(call)?;
    let problem = &call.problem;
    if problem.m == 0 {
        return Ok(());
    }
    let tiles = problem.n.div_ceil(plan.rows()) * problem.m.div_ceil(plan.tokens());
    let count = cubes(client, tiles, 1)?;
    let dim = CubeDim::new_1d(plan.units() as u32);
    let address = address(client, &call.extents())?;
    let width = call.pair_width();
    let (y, y_stride, y_type) = call.output_lines(width);
    let fragments = weights.fragment_layout();
    let extents = tile_extents(problem, fragments, input.stride, input.bytes, y_stride);
    // SAFETY: `Call` holds operands that fit together, and the kernel stays inside of them.
    unsafe {
        mma_gemm::launch_unchecked(
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
