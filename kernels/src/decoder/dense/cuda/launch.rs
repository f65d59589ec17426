//! Launch of the product on tensor cores; the caller has checked the operands.

use cubecl::prelude::*;

use super::base::TablePlan;
use super::kernel::{TableExtentsLaunch, table};
use crate::device::{DeviceFacts, address, cubes};
use crate::error::KernelError;
use crate::operand::FloatMatrix;

/// `y = x · wᵀ` with `plan`.
///
/// # Errors
/// [`KernelError::GridTooLarge`] or [`KernelError::AddressWidth`].
pub(in crate::decoder::dense) fn launch(
    client: &Client,
    x: &FloatMatrix,
    w: &FloatMatrix,
    y: &FloatMatrix,
    device: &DeviceFacts,
    plan: TablePlan,
) -> Result<(), KernelError> {
    let cores = device.cuda.map_or(1, |cuda| cuda.multiprocessors as usize);
    let workers = w.rows().div_ceil(plan.rows()).min(cores);
    let tiles = x.rows().div_ceil(plan.tokens());
    // SAFETY: the buffers cover the operands' shapes, rows are whole lines, and the kernel accesses
    // nothing outside of them.
    unsafe {
        table::launch_unchecked(
            client,
            cubes(client, workers * tiles, 1)?,
            CubeDim::new_1d(plan.units() as u32),
            address(client, &[x.extent(), w.extent(), y.extent()])?,
            x.lines(1),
            w.lines(8),
            y.lines(1),
            TableExtentsLaunch::new(
                x.rows(),
                w.rows(),
                workers,
                x.row_stride() * x.dtype().size(),
                w.row_stride() / 8,
                y.row_stride(),
            ),
            plan,
            x.dtype().elem(),
        );
    }
    Ok(())
}
