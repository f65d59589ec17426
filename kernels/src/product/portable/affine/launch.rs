//! Launch of the affine product; `product` has checked the operands.

use cubecl::prelude::*;
use tritburn_formats::affine::AffineLayout;

use super::kernel::{AffineArgsLaunch, affine, gather_columns};
use crate::device::{DeviceFacts, address, cubes};
use crate::device_code::affine::UnitCode;
use crate::device_code::extents::ExtentsLaunch;
use crate::error::KernelError;
use crate::operand::{AffineWeights, Buffer, FloatMatrix, FloatVector};
use crate::product::portable::gemv::GemvBlueprint;

/// Runs the product of operands that fit together, `x` in the order of the columns. M = 0 launches
/// nothing.
///
/// # Errors
/// [`KernelError::Plan`], [`KernelError::GridTooLarge`] or [`KernelError::AddressWidth`].
pub(crate) fn launch(
    client: &Client,
    x: &FloatMatrix,
    weights: &AffineWeights,
    bias: Option<&FloatVector>,
    y: &FloatMatrix,
    plan: GemvBlueprint,
) -> Result<(), KernelError> {
    plan.validate(&DeviceFacts::of(client))?;
    let (layout, buffers) = (weights.layout(), weights.buffers());
    let (m, n, k) = (x.rows(), layout.out_features(), layout.in_features());
    if m == 0 {
        return Ok(());
    }
    let boxes = n.div_ceil(plan.rows()) * m.div_ceil(plan.tile.tokens);
    let extents = [x.extent(), buffers.words.len(), y.extent()];
    let width = x.line_width().min(plan.vector);
    // SAFETY: the operands fit together, and the kernel stays within them.
    unsafe {
        affine::launch_unchecked(
            client,
            cubes(client, boxes, 1)?,
            CubeDim::new_1d(plan.units() as u32),
            address(client, &extents)?,
            width,
            plan.vector,
            x.lines(width),
            AffineArgsLaunch::new(
                buffers.words.arg(),
                buffers.mask.as_ref().map(Buffer::arg).into(),
                buffers.scales.arg(),
                buffers.zeros.as_ref().map(FloatVector::arg).into(),
                bias.map(FloatVector::arg).into(),
                ExtentsLaunch::new(
                    m,
                    n,
                    k,
                    layout.words_per_row(),
                    x.row_stride(),
                    y.row_stride(),
                ),
                layout.units_per_row(),
                layout.groups_per_row(),
                layout.span(),
                unit_code(layout),
                u32::from(layout.bits().midpoint()),
            ),
            y.lines(1),
            plan,
            x.dtype().elem(),
            buffers.scales.dtype().elem(),
            y.dtype().elem(),
            bias.map_or(f32::elem_type_native(), |bias| bias.dtype().elem()),
        );
    }
    Ok(())
}

/// The columns of `x` in another order, in a temporary matrix: column `c` is input `order[c]`.
///
/// # Errors
/// [`KernelError::GridTooLarge`] or [`KernelError::AddressWidth`].
pub(crate) fn gathered(
    client: &Client,
    x: &FloatMatrix,
    order: &Buffer,
) -> Result<FloatMatrix, KernelError> {
    let (rows, cols, dtype) = (x.rows(), x.cols(), x.dtype());
    let elements = rows * cols;
    let handle = client.empty(elements * dtype.size());
    let out = FloatMatrix::new(handle, [rows, cols], [cols, 1], dtype)?;
    if rows == 0 {
        return Ok(out);
    }
    let device = DeviceFacts::of(client);
    // SAFETY: the buffers cover their operands, and the kernel stays within them.
    unsafe {
        gather_columns::launch_unchecked(
            client,
            cubes(client, elements, device.cube_units as usize)?,
            device.cube_dim(),
            address(client, &[x.extent(), elements])?,
            x.lines(1),
            order.arg(),
            out.lines(1),
            rows,
            cols,
            x.row_stride(),
            dtype.elem(),
        );
    }
    Ok(out)
}

fn unit_code(layout: &AffineLayout) -> UnitCode {
    UnitCode {
        bits: layout.bits().count(),
        sparse: layout.is_sparse(),
    }
}
