//! The gated unit without a norm: each unit computes one line.

use cubecl::prelude::*;

use crate::decoder::norm::{Source, gate, gate_and_slope};
use crate::device::{DeviceFacts, address, cubes};
use crate::error::KernelError;
use crate::operand::FloatMatrix;

/// Runtime sizes, in lines.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
struct GateExtents {
    /// Rows.
    rows: usize,
    /// Columns of gate.
    cols: usize,
    /// Row stride of gate and up.
    x_stride: usize,
    /// Row stride of y, or of its gradient.
    y_stride: usize,
    /// Row stride of the gradients of gate and up.
    dx_stride: usize,
}

/// `y = gate(g) · u`.
pub(super) fn forward(
    client: &Client,
    gate_up: &FloatMatrix,
    source: Source,
    y: &FloatMatrix,
) -> Result<(), KernelError> {
    let pass = Pass::new(client, gate_up, "y", y, None)?;
    let Some(Pass {
        width,
        count,
        dim,
        address,
        extents,
    }) = pass
    else {
        return Ok(());
    };
    // SAFETY: the buffers cover their operands, and the kernel stays within them.
    unsafe {
        gated_lines::launch_unchecked(
            client,
            count,
            dim,
            address,
            width,
            gate_up.lines(width),
            y.lines(width),
            extents,
            source,
            y.dtype().elem(),
        );
    }
    Ok(())
}

/// The gradients of gate and up.
pub(super) fn backward(
    client: &Client,
    gate_up: &FloatMatrix,
    source: Source,
    dy: &FloatMatrix,
    d_gate_up: &FloatMatrix,
) -> Result<(), KernelError> {
    let pass = Pass::new(client, gate_up, "gradient of y", dy, Some(d_gate_up))?;
    let Some(Pass {
        width,
        count,
        dim,
        address,
        extents,
    }) = pass
    else {
        return Ok(());
    };
    // SAFETY: the buffers cover their operands, and the kernel stays within them.
    unsafe {
        gated_gradients::launch_unchecked(
            client,
            count,
            dim,
            address,
            width,
            gate_up.lines(width),
            dy.lines(width),
            d_gate_up.lines(width),
            extents,
            source,
            dy.dtype().elem(),
        );
    }
    Ok(())
}

/// The launch parameters of a pass over all lines of checked operands.
struct Pass {
    width: usize,
    count: CubeCount,
    dim: CubeDim,
    address: AddressType,
    extents: GateExtentsLaunch,
}

impl Pass {
    /// `None` if there are no rows.
    fn new(
        client: &Client,
        gate_up: &FloatMatrix,
        operand: &'static str,
        y: &FloatMatrix,
        d_gate_up: Option<&FloatMatrix>,
    ) -> Result<Option<Self>, KernelError> {
        let (rows, cols) = (gate_up.rows(), gate_up.cols() / 2);
        gate_up.check(client, "gate and up", [rows, 2 * cols])?;
        y.check(client, operand, [rows, cols])?;
        gate_up.dtype().expect(operand, y.dtype())?;
        let mut width = gate_up.line_width().min(y.line_width());
        let mut extent = gate_up.extent();
        if let Some(matrix) = d_gate_up {
            let operand = "gradient of gate and up";
            matrix.check(client, operand, [rows, 2 * cols])?;
            gate_up.dtype().expect(operand, matrix.dtype())?;
            width = width.min(matrix.line_width());
            extent = extent.max(matrix.extent());
        }
        if rows == 0 {
            return Ok(None);
        }
        let device = DeviceFacts::of(client);
        Ok(Some(Self {
            width,
            count: cubes(client, rows * cols / width, device.cube_units as usize)?,
            dim: device.cube_dim(),
            address: address(client, &[extent, y.extent()])?,
            extents: GateExtentsLaunch::new(
                rows,
                cols / width,
                gate_up.row_stride() / width,
                y.row_stride() / width,
                d_gate_up.map_or(0, |matrix| matrix.row_stride() / width),
            ),
        }))
    }
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn gated_lines<F: Float, V: Size>(
    gate_up: &[Vector<F, V>],
    y: &mut [Vector<F, V>],
    extents: GateExtents,
    #[comptime] source: Source,
    #[define(F)] _dtype: ElemType,
) {
    let row = ABSOLUTE_POS / extents.cols;
    let line = ABSOLUTE_POS % extents.cols;
    if row < extents.rows {
        let g = gate_up[row * extents.x_stride + line];
        let up = gate_up[row * extents.x_stride + extents.cols + line];
        let mut out = Vector::<F, V>::empty();
        #[unroll]
        for j in 0..V::value() {
            let factor = gate(f32::cast_from(g.extract(j)), source);
            out.insert(j, F::cast_from(factor * f32::cast_from(up.extract(j))));
        }
        y[row * extents.y_stride + line] = out;
    }
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn gated_gradients<F: Float, V: Size>(
    gate_up: &[Vector<F, V>],
    dy: &[Vector<F, V>],
    d_gate_up: &mut [Vector<F, V>],
    extents: GateExtents,
    #[comptime] source: Source,
    #[define(F)] _dtype: ElemType,
) {
    let row = ABSOLUTE_POS / extents.cols;
    let line = ABSOLUTE_POS % extents.cols;
    if row < extents.rows {
        let g = gate_up[row * extents.x_stride + line];
        let up = gate_up[row * extents.x_stride + extents.cols + line];
        let dy = dy[row * extents.y_stride + line];
        let mut d_gate = Vector::<F, V>::empty();
        let mut d_up = Vector::<F, V>::empty();
        #[unroll]
        for j in 0..V::value() {
            let (factor, slope) = gate_and_slope(f32::cast_from(g.extract(j)), source);
            let dh = f32::cast_from(dy.extract(j));
            d_gate.insert(j, F::cast_from(dh * f32::cast_from(up.extract(j)) * slope));
            d_up.insert(j, F::cast_from(dh * factor));
        }
        let to = row * extents.dx_stride;
        d_gate_up[to + line] = d_gate;
        d_gate_up[to + extents.cols + line] = d_up;
    }
}
