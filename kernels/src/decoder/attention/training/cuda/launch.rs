//! Launches of the tensor-core kernels; the caller has checked the operands.

use cubecl::prelude::*;

use super::super::base::AttentionShape;
use super::base::{FlashPlan, FlashPlans};
use super::forward::flash_forward;
use super::gradient_key::flash_key_gradient;
use super::gradient_query::flash_query_gradient;
use super::tile::FlashExtentsLaunch;
use crate::device::{address, cubes};
use crate::error::KernelError;
use crate::operand::{Buffer, FloatMatrix};

/// As [`forward`](super::super::forward), with the caller's `plans`: for tuning and tests.
///
/// # Errors
/// As there, and [`KernelError::Plan`] if the plans do not fit the device or the operands.
pub fn forward(
    client: &Client,
    qkv: &FloatMatrix,
    shape: &AttentionShape,
    scale: f32,
    out: &FloatMatrix,
    statistics: &Buffer,
    plans: &FlashPlans,
) -> Result<(), KernelError> {
    shape.check_forward(client, qkv, out, statistics)?;
    plans.check(client, shape, scale, qkv, out)?;
    if shape.tokens() == 0 {
        return Ok(());
    }
    let plan = plans.forward;
    let tiles = shape.length.div_ceil(plan.rows());
    // SAFETY: the buffers cover the shape, rows are aligned as the plan needs, and the kernel accesses
    // nothing outside of them.
    unsafe {
        flash_forward::launch_unchecked(
            client,
            cubes(client, tiles * shape.batch * shape.heads, 1)?,
            CubeDim::new_1d(plan.units() as u32),
            address(client, &[qkv.extent(), out.extent(), shape.rows()])?,
            qkv.lines(2),
            out.lines(2),
            statistics.arg(),
            extents(
                shape,
                scale,
                [qkv, out, out, qkv],
                plans.query_section(shape),
            ),
            plan,
        );
    }
    Ok(())
}

/// As [`backward`](super::super::backward), with the caller's `plans`: for tuning and tests.
///
/// # Errors
/// As [`forward`].
#[allow(
    clippy::too_many_arguments,
    reason = "operands and results of two matrices"
)]
pub fn backward(
    client: &Client,
    qkv: &FloatMatrix,
    out: &FloatMatrix,
    statistics: &Buffer,
    d_out: &FloatMatrix,
    shape: &AttentionShape,
    scale: f32,
    d_qkv: &FloatMatrix,
    plans: &FlashPlans,
) -> Result<(), KernelError> {
    shape.check_forward(client, qkv, out, statistics)?;
    shape.check_backward(client, qkv, d_out, d_qkv)?;
    plans.check(client, shape, scale, qkv, out)?;
    plans.check(client, shape, scale, d_out, d_qkv)?;
    if shape.tokens() == 0 {
        return Ok(());
    }
    let matrices = [qkv, out, d_out, d_qkv];
    let elements = matrices.map(FloatMatrix::extent).into_iter();
    let elements: Vec<usize> = elements.chain([2 * shape.rows()]).collect();
    let address = address(client, &elements)?;
    // Statistic and delta of each row, interleaved.
    let rows = Buffer::new(client.empty(shape.rows() * 8), 2 * shape.rows());
    let cubes_of = |plan: FlashPlan, heads: usize| {
        let tiles = shape.length.div_ceil(plan.rows());
        cubes(client, tiles * shape.batch * heads, 1)
    };
    // SAFETY: as in `forward`.
    unsafe {
        flash_query_gradient::launch_unchecked(
            client,
            cubes_of(plans.query, shape.heads)?,
            CubeDim::new_1d(plans.query.units() as u32),
            address,
            qkv.lines(2),
            out.lines(2),
            statistics.arg(),
            d_out.lines(2),
            d_qkv.lines(2),
            rows.arg(),
            extents(shape, scale, matrices, plans.query_section(shape)),
            plans.query,
        );
        flash_key_gradient::launch_unchecked(
            client,
            cubes_of(plans.key, shape.kv_heads)?,
            CubeDim::new_1d(plans.key.units() as u32),
            address,
            qkv.lines(2),
            d_out.lines(2),
            rows.arg(),
            d_qkv.lines(2),
            extents(shape, scale, matrices, plans.key_section(shape)),
            plans.key,
        );
    }
    Ok(())
}

/// The runtime sizes for qkv, its output and their gradients.
fn extents(
    shape: &AttentionShape,
    scale: f32,
    [qkv, out, d_out, d_qkv]: [&FloatMatrix; 4],
    section: usize,
) -> FlashExtentsLaunch {
    FlashExtentsLaunch::new(
        shape.batch,
        shape.length,
        shape.heads,
        shape.kv_heads,
        qkv.row_stride() / 2,
        out.row_stride() / 2,
        d_out.row_stride() / 2,
        d_qkv.row_stride() / 2,
        section,
        scale,
    )
}
