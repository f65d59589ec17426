//! Launch of the product on tensor cores; the callers have checked the operands.

use cubecl::prelude::*;

use super::base::TablePlan;
use super::kernel::{TableExtentsLaunch, table};
use crate::device::{DeviceFacts, address, cubes};
use crate::error::KernelError;
use crate::operand::{FloatMatrix, QuantizedActivations};

/// `y = x · wᵀ` of half-precision floats with `plan`.
///
/// # Errors
/// [`KernelError::GridTooLarge`] or [`KernelError::AddressWidth`].
pub(in crate::decoder::dense) fn launch_half(
    client: &Client,
    x: &FloatMatrix,
    w: &FloatMatrix,
    y: &FloatMatrix,
    device: &DeviceFacts,
    plan: TablePlan,
) -> Result<(), KernelError> {
    let tokens = Operand {
        codes: x.lines(1),
        len: x.extent(),
        dtype: x.dtype().elem(),
        rows: x.rows(),
        row_bytes: x.row_stride() * x.dtype().size(),
        scales: None,
    };
    let table = Operand {
        codes: w.lines(8),
        len: w.extent(),
        dtype: w.dtype().elem(),
        rows: w.rows(),
        row_bytes: w.row_stride() * w.dtype().size(),
        scales: None,
    };
    launch(client, tokens, table, y, device, plan)
}

/// `y = x · wᵀ` of int8 rows with `plan`.
///
/// # Errors
/// As [`launch_half`].
pub(in crate::decoder::dense) fn launch_int8(
    client: &Client,
    x: &QuantizedActivations,
    w: &QuantizedActivations,
    y: &FloatMatrix,
    device: &DeviceFacts,
    plan: TablePlan,
) -> Result<(), KernelError> {
    let operand = |codes: &QuantizedActivations, width| Operand {
        codes: codes.codes().lines(width),
        len: codes.codes().len(),
        dtype: u32::elem_type_native(),
        rows: codes.rows(),
        row_bytes: plan.row,
        scales: Some(codes.scales().arg()),
    };
    launch(client, operand(x, 1), operand(w, 4), y, device, plan)
}

/// Rows of either kind.
struct Operand {
    codes: BufferArg,
    /// Elements of `codes`.
    len: usize,
    /// Their type.
    dtype: ElemType,
    rows: usize,
    /// Bytes from row to row.
    row_bytes: usize,
    scales: Option<BufferArg>,
}

fn launch(
    client: &Client,
    x: Operand,
    w: Operand,
    y: &FloatMatrix,
    device: &DeviceFacts,
    plan: TablePlan,
) -> Result<(), KernelError> {
    let cores = device.cuda.map_or(1, |cuda| cuda.multiprocessors as usize);
    let workers = w.rows.div_ceil(plan.rows()).min(cores);
    let tiles = x.rows.div_ceil(plan.tokens());
    // SAFETY: the buffers cover the operands' shapes, rows are whole lines, and the kernel accesses
    // nothing outside of them.
    unsafe {
        table::launch_unchecked(
            client,
            cubes(client, workers * tiles, 1)?,
            CubeDim::new_1d(plan.units() as u32),
            address(client, &[x.len, w.len, y.extent()])?,
            x.codes,
            w.codes,
            x.scales.into(),
            w.scales.into(),
            y.lines(1),
            TableExtentsLaunch::new(
                x.rows,
                w.rows,
                workers,
                x.row_bytes,
                w.row_bytes / 16,
                y.row_stride(),
            ),
            plan,
            x.dtype,
            plan.types.accumulator(),
        );
    }
    Ok(())
}
