//! Launch of the portable GEMM; `product` has checked the operands.

use cubecl::prelude::*;

use super::base::GemmBlueprint;
use super::kernel::{w2a8, w2a16};
use crate::device::{DeviceFacts, address, cubes};
use crate::device_code::decode::scale_map;
use crate::device_code::extents::ExtentsLaunch;
use crate::error::KernelError;
use crate::operand::{PackedWeights, QuantizedActivations};
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
    plan: GemmBlueprint,
) -> Result<(), KernelError> {
    plan.validate(device)?;
    let problem = &call.problem;
    if problem.m == 0 {
        return Ok(());
    }
    let boxes = problem.n.div_ceil(plan.rows()) * problem.m.div_ceil(plan.tokens());
    let count = cubes(client, boxes, 1)?;
    let dim = CubeDim::new_1d(plan.units() as u32);
    let address = address(client, &call.extents())?;
    let layout = weights.layout();
    let (y, _, y_stride, y_type) = call.output();
    let (words, scales) = (weights.words().arg(), weights.scales().arg());
    let bias = call.bias.map(|bias| bias.arg());
    let extents = |x_stride| {
        let words = layout.words_per_row();
        ExtentsLaunch::new(problem.m, problem.n, problem.k, words, x_stride, y_stride)
    };
    // SAFETY: `Call` holds operands that fit together, and the kernels stay inside of them.
    unsafe {
        match &call.x {
            Input::Int8(x) => w2a8::launch_unchecked(
                client,
                count,
                dim,
                address,
                x.codes().lines(4),
                x.scales().arg(),
                words,
                scales,
                bias.into(),
                y,
                scale_map(layout),
                extents(QuantizedActivations::words_per_row(problem.k) / 4),
                problem.code,
                call.integers(),
                plan,
                y_type,
                call.bias_dtype(),
            ),
            Input::Float(x) => {
                let width = x.line_width().min(plan.lanes);
                w2a16::launch_unchecked(
                    client,
                    count,
                    dim,
                    address,
                    width,
                    plan.lanes,
                    x.lines(width),
                    words,
                    scales,
                    bias.into(),
                    y,
                    scale_map(layout),
                    extents(x.row_stride()),
                    problem.code,
                    plan,
                    x.dtype().elem(),
                    y_type,
                    call.bias_dtype(),
                )
            }
        }
    }
    Ok(())
}
