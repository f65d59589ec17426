//! Rows of a table, and the gradient of the table.

mod backward;

use cubecl::prelude::*;

use crate::device::{DeviceFacts, address, cubes};
use crate::device_code::decode::nan_of;
use crate::error::KernelError;
use crate::operand::{Buffer, FloatMatrix};

pub use backward::backward;

/// `out[t] = table[ids[t]]` for `table` `[V, K]`, `ids` u32 `[T]` and `out` `[T, K]`, converted to
/// the type of `out`. An id that the table lacks gives a row of NaN. T = 0 launches nothing.
///
/// # Errors
/// [`KernelError`] if shapes differ, the table is empty or the device lacks a type.
pub fn launch(
    client: &Client,
    table: &FloatMatrix,
    ids: &Buffer,
    out: &FloatMatrix,
) -> Result<(), KernelError> {
    table.check(client, "table", [table.rows().max(1), table.cols()])?;
    out.check(client, "embeddings", [ids.len(), table.cols()])?;
    ids.check_exact("ids", out.rows())?;
    if out.rows() == 0 {
        return Ok(());
    }
    // Both lines have as many elements as 16 bytes hold of the wider type.
    let width = table.line_width().min(out.line_width());
    let lines = table.cols() / width;
    let items = out.rows() * lines;
    let device = DeviceFacts::of(client);
    let units = match device.lockstep {
        true => device.cube_units.min(128),
        false => device.cube_units,
    };
    // SAFETY: the buffers cover their operands, and the kernel stays within them.
    unsafe {
        gather::launch_unchecked(
            client,
            cubes(client, items, units as usize)?,
            CubeDim::new_1d(units),
            address(client, &[table.extent(), out.extent()])?,
            width,
            table.lines(width),
            ids.arg(),
            out.lines(width),
            out.rows(),
            table.rows(),
            lines,
            table.row_stride() / width,
            out.row_stride() / width,
            table.dtype().elem(),
            out.dtype().elem(),
        );
    }
    Ok(())
}

/// One unit per line.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
fn gather<I: Float, O: Float, V: Size>(
    table: &[Vector<I, V>],
    ids: &[u32],
    out: &mut [Vector<O, V>],
    tokens: usize,
    vocabulary: usize,
    lines: usize,
    table_stride: usize,
    out_stride: usize,
    #[define(I)] _in_type: ElemType,
    #[define(O)] _out_type: ElemType,
) {
    let token = ABSOLUTE_POS / lines;
    if token < tokens {
        let line = ABSOLUTE_POS % lines;
        let id = ids[token];
        let known = usize::cast_from(id) < vocabulary;
        let from = table[select(known, usize::cast_from(id), 0usize) * table_stride + line];
        let mut to = Vector::<O, V>::empty();
        #[unroll]
        for j in 0..V::value() {
            let value = f32::cast_from(from.extract(j));
            to.insert(j, O::cast_from(select(known, value, nan_of(id))));
        }
        out[token * out_stride + line] = to;
    }
}
