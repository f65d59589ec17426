//! Checked launch of the dense product.

use cubecl::prelude::*;

use super::base::{BLOCK, PLAN, SHARED_BYTES, STEP_BYTES};
use super::kernel::{DenseExtentsLaunch, Form, dense};
use crate::device::{DeviceFacts, address};
use crate::device_code::MmaType;
use crate::error::KernelError;
use crate::operand::{FloatMatrix, FloatType, QuantizedActivations};
use crate::product::cuda::wgmma::{Parts, SharedOperand};

/// Which dimension of an operand is contracted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// `[rows of the output, depth]`.
    Columns,
    /// `[depth, rows of the output]`.
    Rows,
}

/// An operand of a dense product.
#[derive(Clone, Copy, Debug)]
pub struct DenseOperand<'a> {
    /// bf16 or f16.
    pub matrix: &'a FloatMatrix,
    /// The dimension that is contracted.
    pub depth: Depth,
}

impl DenseOperand<'_> {
    /// The size that becomes a dimension of the output, then the depth.
    fn sizes(&self) -> [usize; 2] {
        let (rows, cols) = (self.matrix.rows(), self.matrix.cols());
        match self.depth {
            Depth::Columns => [rows, cols],
            Depth::Rows => [cols, rows],
        }
    }

    fn shared(&self) -> SharedOperand {
        match self.depth {
            Depth::Columns => SharedOperand::DepthInner,
            Depth::Rows => SharedOperand::DepthOuter,
        }
    }
}

/// Whether [`launch`] takes these operands on `client`'s device.
pub fn runs(client: &Client, left: DenseOperand, right: DenseOperand) -> bool {
    let [left, right] = [left.matrix, right.matrix];
    runs_int8(client)
        && left.dtype() == right.dtype()
        && left.dtype() != FloatType::F32
        && [left, right]
            .iter()
            .all(|matrix| matrix.starts_lines() && matrix.rows() > 0)
}

/// Whether [`launch_int8`] works on `client`'s device.
pub fn runs_int8(client: &Client) -> bool {
    let device = DeviceFacts::of(client);
    PLAN.runs_on(&device) && SHARED_BYTES <= device.shared_bytes
}

/// `out = left · rightᵀ`, or `out += left · rightᵀ` if `accumulate`, for `left` `[R, D]`, `right` `[C, D]`
/// and `out` `[R, C]`. An operand with [`Depth::Rows`] is given as its transpose, `[D, R]` or `[D, C]`.
///
/// # Errors
/// [`KernelError`] if shapes differ, an operand does not [`run`](runs), or the device lacks a type.
pub fn launch(
    client: &Client,
    left: DenseOperand,
    right: DenseOperand,
    out: &FloatMatrix,
    accumulate: bool,
) -> Result<(), KernelError> {
    let ([rows, depth], [cols, right_depth]) = (left.sizes(), right.sizes());
    if depth != right_depth {
        return Err(KernelError::Shape {
            operand: "right operand",
            expected: [cols, depth],
            found: [cols, right_depth],
        });
    }
    out.check(client, "output", [rows, cols])?;
    if !runs(client, left, right) {
        return Err(KernelError::Plan {
            reason: format!(
                "dense products want a GPU of compute capability 9.0 and half-precision rows that \
                 start at multiples of 16 bytes; these are {:?} and {:?}",
                left.matrix.dtype(),
                right.matrix.dtype()
            ),
        });
    }
    let device = DeviceFacts::of(client);
    let tiles = rows.div_ceil(PLAN.rows() * PLAN.multicast) * cols.div_ceil(PLAN.tokens);
    let steps = (depth * left.matrix.dtype().size()).div_ceil(STEP_BYTES);
    let parts = Parts::new(client, &PLAN, tiles, steps, out, &device);
    let form = Form {
        left: left.shared(),
        right: right.shared(),
        accumulate: accumulate && parts.write_to_output(),
        types: MmaType::of(left.matrix.dtype()),
    };
    let width = out.pair_width();
    let (to, extent, dtype) = parts.target(out, width);
    // SAFETY: the buffers cover the operands' shapes and the sums of all parts, and the kernel
    // accesses nothing outside of them.
    unsafe {
        dense::launch_unchecked(
            client,
            CubeCount::Static(PLAN.cubes(tiles * parts.count, &device) as u32, 1, 1),
            CubeDim::new_1d(PLAN.cube_units() as u32),
            address(client, &[extent])?,
            width,
            left.matrix.tensor_map([BLOCK, BLOCK]),
            right.matrix.tensor_map([BLOCK, BLOCK]),
            None.into(),
            None.into(),
            to,
            DenseExtentsLaunch::new(
                rows,
                cols,
                steps,
                parts.count,
                parts.share,
                out.row_stride(),
                rows * cols,
            ),
            form,
            left.matrix.dtype().elem(),
            dtype.elem(),
        );
    }
    parts.finish(client, out, accumulate)
}

/// `out[r, c] = acc · (right_scale[c] · left_scale[r])` for int8 rows `left` `[R, D]` and `right` `[C, D]` and
/// `out` f32 `[R, C]`; `acc` is the exact sum of the products of codes, if it fits an i32.
///
/// # Errors
/// [`KernelError`] if shapes differ, or the device does not [run](runs_int8) it.
pub fn launch_int8(
    client: &Client,
    left: &QuantizedActivations,
    right: &QuantizedActivations,
    out: &FloatMatrix,
) -> Result<(), KernelError> {
    let (rows, cols, depth) = (left.rows(), right.rows(), left.cols());
    if depth != right.cols() {
        return Err(KernelError::Shape {
            operand: "right operand",
            expected: [cols, depth],
            found: [cols, right.cols()],
        });
    }
    out.check(client, "output", [rows, cols])?;
    FloatType::F32.expect("output", out.dtype())?;
    if !runs_int8(client) {
        return Err(KernelError::Plan {
            reason: "dense products of int8 want a GPU of compute capability 9.0".into(),
        });
    }
    let device = DeviceFacts::of(client);
    let tiles = rows.div_ceil(PLAN.rows() * PLAN.multicast) * cols.div_ceil(PLAN.tokens);
    let steps = (4 * QuantizedActivations::words_per_row(depth)).div_ceil(STEP_BYTES);
    let form = Form {
        left: SharedOperand::DepthInner,
        right: SharedOperand::DepthInner,
        accumulate: false,
        types: MmaType::Int8,
    };
    let words = u32::elem_type_native();
    // SAFETY: the buffers cover the operands' shapes, and the kernel accesses nothing outside of them.
    unsafe {
        dense::launch_unchecked(
            client,
            CubeCount::Static(PLAN.cubes(tiles, &device) as u32, 1, 1),
            CubeDim::new_1d(PLAN.cube_units() as u32),
            address(client, &[out.extent()])?,
            out.pair_width(),
            left.tensor_map([BLOCK, STEP_BYTES / 4]),
            right.tensor_map([BLOCK, STEP_BYTES / 4]),
            Some(left.scales().arg()).into(),
            Some(right.scales().arg()).into(),
            out.lines(out.pair_width()),
            // One part: sums of parts would be rounded.
            DenseExtentsLaunch::new(rows, cols, steps, 1, steps, out.row_stride(), 0),
            form,
            words,
            out.dtype().elem(),
        );
    }
    Ok(())
}
