//! Launch of the portable GEMV; `product` has checked the operands.

use cubecl::prelude::*;

use super::base::GemvBlueprint;
use super::kernel::{w2a8, w2a16};
use crate::device::{DeviceFacts, cubes};
use crate::error::KernelError;
use crate::operand::PackedWeights;
use crate::product::portable::args::{Binding, portable_args};
use crate::product::{Call, Input};

/// Runs `call` with `plan`. M = 0 launches nothing.
///
/// # Errors
/// [`KernelError::Plan`], [`KernelError::GridTooLarge`] or [`KernelError::AddressWidth`].
pub(crate) fn launch(
    client: &Client,
    call: &Call<'_>,
    weights: &PackedWeights,
    device: &DeviceFacts,
    plan: GemvBlueprint,
) -> Result<(), KernelError> {
    plan.validate(device)?;
    let problem = &call.problem;
    if problem.m == 0 {
        return Ok(());
    }
    let boxes = problem.n.div_ceil(plan.rows()) * problem.m.div_ceil(plan.tile.tokens);
    let count = cubes(client, boxes, 1)?;
    let dim = CubeDim::new_1d(plan.units() as u32);
    let bound = Binding::of(client, call)?;
    // SAFETY: `Call` holds operands that fit together, and the kernels stay within them.
    unsafe {
        match &call.x {
            Input::Int8(x) => w2a8::launch_unchecked(
                client,
                count,
                dim,
                bound.address,
                x.codes().lines(4),
                x.scales().arg(),
                portable_args(call, weights, bound.y_stride),
                bound.y,
                call.integers(),
                plan,
                bound.y_type,
                bound.bias_type,
            ),
            Input::Float(x) => {
                let width = x.line_width().min(plan.vector);
                w2a16::launch_unchecked(
                    client,
                    count,
                    dim,
                    bound.address,
                    width,
                    plan.vector,
                    x.lines(width),
                    portable_args(call, weights, bound.y_stride),
                    bound.y,
                    plan,
                    x.dtype().elem(),
                    bound.y_type,
                    bound.bias_type,
                )
            }
        }
    }
    Ok(())
}
