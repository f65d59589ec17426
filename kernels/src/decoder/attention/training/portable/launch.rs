//! Launches of the portable kernels; the caller has checked the operands.

use cubecl::prelude::*;

use super::super::base::AttentionShape;
use super::forward::attend;
use super::gradient_key::key_gradient;
use super::gradient_query::query_gradient;
use super::rows::RowExtentsLaunch;
use crate::device::{DeviceFacts, address, cubes};
use crate::error::KernelError;
use crate::operand::{Buffer, FloatMatrix};

pub(in crate::decoder::attention::training) fn forward(
    client: &Client,
    qkv: &FloatMatrix,
    shape: &AttentionShape,
    scale: f32,
    out: &FloatMatrix,
    statistics: &Buffer,
) -> Result<(), KernelError> {
    shape.check_forward(client, qkv, out, statistics)?;
    if shape.tokens() == 0 {
        return Ok(());
    }
    let device = DeviceFacts::of(client);
    let width = line_width(shape.dim, &[qkv, out]);
    // SAFETY: the buffers cover their operands, and the kernel stays within them.
    unsafe {
        attend::launch_unchecked(
            client,
            cubes(client, shape.rows(), device.cube_units as usize)?,
            device.cube_dim(),
            address(client, &[qkv.extent(), out.extent(), shape.rows()])?,
            width,
            qkv.lines(width),
            out.lines(width),
            statistics.arg(),
            extents(shape, width, scale, [qkv, out, out, qkv]),
            shape.dim / width,
            qkv.dtype().elem(),
        );
    }
    Ok(())
}

#[allow(
    clippy::too_many_arguments,
    reason = "operands and results of two matrices"
)]
pub(in crate::decoder::attention::training) fn backward(
    client: &Client,
    qkv: &FloatMatrix,
    out: &FloatMatrix,
    statistics: &Buffer,
    d_out: &FloatMatrix,
    shape: &AttentionShape,
    scale: f32,
    d_qkv: &FloatMatrix,
) -> Result<(), KernelError> {
    shape.check_forward(client, qkv, out, statistics)?;
    shape.check_backward(client, qkv, d_out, d_qkv)?;
    if shape.tokens() == 0 {
        return Ok(());
    }
    let device = DeviceFacts::of(client);
    let matrices = [qkv, out, d_out, d_qkv];
    let width = line_width(shape.dim, &matrices);
    let (lines, dtype) = (shape.dim / width, qkv.dtype().elem());
    let elements = matrices.map(FloatMatrix::extent).into_iter();
    let elements: Vec<usize> = elements.chain([shape.rows()]).collect();
    let address = address(client, &elements)?;
    let units = device.cube_units as usize;
    let deltas = Buffer::new(client.empty(shape.rows() * 4), shape.rows());
    // SAFETY: the buffers cover their operands, and the kernels stay within them.
    unsafe {
        query_gradient::launch_unchecked(
            client,
            cubes(client, shape.rows(), units)?,
            device.cube_dim(),
            address,
            width,
            qkv.lines(width),
            out.lines(width),
            statistics.arg(),
            d_out.lines(width),
            d_qkv.lines(width),
            deltas.arg(),
            extents(shape, width, scale, matrices),
            lines,
            dtype,
        );
        key_gradient::launch_unchecked(
            client,
            cubes(client, shape.tokens() * shape.kv_heads, units)?,
            device.cube_dim(),
            address,
            width,
            qkv.lines(width),
            statistics.arg(),
            deltas.arg(),
            d_out.lines(width),
            d_qkv.lines(width),
            extents(shape, width, scale, matrices),
            lines,
            dtype,
        );
    }
    Ok(())
}

/// Elements of a line: the largest power of two, up to 4, that divides the rows and heads of every matrix.
fn line_width(dim: usize, matrices: &[&FloatMatrix]) -> usize {
    match matrices.iter().all(|matrix| matrix.starts_lines()) {
        true => 4.min(1 << dim.trailing_zeros()),
        false => 1,
    }
}

/// The runtime sizes for qkv, its output and their gradients.
fn extents(
    shape: &AttentionShape,
    width: usize,
    scale: f32,
    [qkv, out, d_out, d_qkv]: [&FloatMatrix; 4],
) -> RowExtentsLaunch {
    RowExtentsLaunch::new(
        shape.batch,
        shape.length,
        shape.heads,
        shape.kv_heads,
        qkv.row_stride() / width,
        out.row_stride() / width,
        d_out.row_stride() / width,
        d_qkv.row_stride() / width,
        scale,
    )
}
