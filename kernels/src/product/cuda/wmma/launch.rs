//! Launch of the WMMA GEMM; `product` has checked the operands.

use cubecl::prelude::*;

use super::base::WmmaBlueprint;
use super::kernel::wmma_gemm;
use crate::device::{DeviceFacts, cubes};
use crate::error::KernelError;
use crate::prepack::PrepackedWeights;
use crate::product::cuda::args::{Binding, product_args};
use crate::product::cuda::input::InputLines;
use crate::product::{Call, Input};

/// Runs `call` with `plan`. M = 0 launches nothing.
///
/// # Errors
/// [`KernelError::Plan`], [`KernelError::GridTooLarge`] or [`KernelError::AddressWidth`].
pub(crate) fn launch(
    client: &Client,
    call: &Call<'_>,
    weights: &PrepackedWeights,
    device: &DeviceFacts,
    plan: WmmaBlueprint,
) -> Result<(), KernelError> {
    plan.validate(device)?;
    if matches!(call.x, Input::Float(_)) {
        return Err(KernelError::Plan {
            reason: "WMMA fragments multiply int8 activations only".into(),
        });
    }
    let input = InputLines::of(call)?;
    let problem = &call.problem;
    if problem.m == 0 {
        return Ok(());
    }
    let tiles = problem.n.div_ceil(plan.rows()) * problem.m.div_ceil(plan.tokens());
    let count = cubes(client, tiles, 1)?;
    let dim = CubeDim::new_1d(plan.units() as u32);
    let bound = Binding::of(client, call)?;
    let args = product_args(call, weights, input.tokens, bound.y_stride);
    // SAFETY: `Call` holds operands that fit together, and the kernel stays within them.
    unsafe {
        wmma_gemm::launch_unchecked(
            client,
            count,
            dim,
            bound.address,
            bound.width,
            input.x,
            args,
            bound.y,
            plan,
            bound.y_type,
            bound.bias_type,
        );
    }
    Ok(())
}
