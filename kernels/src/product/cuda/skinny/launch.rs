//! Launch of the tensor-core GEMV; `product` has checked the operands.

use cubecl::prelude::*;

use super::base::{STRIP_ROWS, SkinnyBlueprint};
use super::kernel::{SkinnyExtentsLaunch, skinny};
use crate::device::{DeviceFacts, address, cubes};
use crate::error::KernelError;
use crate::operand::{FloatType, QuantizedActivations};
use crate::prepack::PrepackedWeights;
use crate::product::cuda::MmaInput;
use crate::product::{ActivationType, Call, Input};

/// Runs `call` with `plan`. M = 0 launches nothing.
///
/// # Errors
/// [`KernelError::Plan`], [`KernelError::GridTooLarge`] or [`KernelError::AddressWidth`].
pub(crate) fn launch(
    client: &Client,
    call: &Call<'_>,
    weights: &PrepackedWeights,
    device: &DeviceFacts,
    plan: SkinnyBlueprint,
) -> Result<(), KernelError> {
    let fragments = weights.fragment_layout();
    let problem = &call.problem;
    let operand = MmaInput::of(problem.activations);
    let (dtype, quantizes) = match problem.activations {
        ActivationType::Int8 => (FloatType::F32, false),
        ActivationType::Float(dtype) => (dtype, false),
        ActivationType::Quantized(dtype) => (dtype, true),
    };
    if plan.quantizes != quantizes {
        let reason = format!(
            "{plan:?} does not take {:?} activations",
            problem.activations
        );
        return Err(KernelError::Plan { reason });
    }
    plan.validate(operand, problem.k, device)?;
    if problem.m == 0 {
        return Ok(());
    }
    let boxes = problem.n.div_ceil(plan.strips * STRIP_ROWS) * problem.m.div_ceil(plan.tokens);
    let count = cubes(client, boxes, 1)?;
    let dim = CubeDim::new_1d(plan.units() as u32);
    let address = address(client, &call.extents())?;
    let width = call.pair_width();
    let (y, y_stride, y_type) = call.output_lines(width);
    let (x, x_scales, x_stride, x_type, whole_lines) = match &call.x {
        Input::Int8(x) => (
            x.codes().arg(),
            Some(x.scales().arg()),
            QuantizedActivations::words_per_row(problem.k),
            u32::elem_type_native(),
            true,
        ),
        Input::Float(x) => (
            x.lines(1),
            None,
            x.row_stride(),
            x.dtype().elem(),
            operand.terms == 1 && x.starts_lines(),
        ),
    };
    let ends = !quantizes || (problem.k * dtype.size()).is_multiple_of(16);
    if plan.per_warp && !(whole_lines && ends) {
        let reason = format!(
            "{plan:?} wants rows of activations that start at multiples of 16 bytes, and end there if it \
             quantises them"
        );
        return Err(KernelError::Plan { reason });
    }
    let extents = SkinnyExtentsLaunch::new(
        problem.m,
        problem.n,
        problem.k,
        fragments.col_tiles(),
        fragments.row_tiles(),
        x_stride,
        y_stride,
    );
    // SAFETY: `Call` holds operands that fit together, and the kernel stays within them.
    unsafe {
        skinny::launch_unchecked(
            client,
            count,
            dim,
            address,
            width,
            x,
            x_scales.into(),
            weights.words().lines(4),
            weights.row_scales().arg(),
            call.bias.map(|bias| bias.arg()).into(),
            y,
            extents,
            problem.code,
            operand,
            dtype,
            whole_lines,
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
