//! The sum of several matrices of partial sums.

use cubecl::prelude::*;

use crate::device::{DeviceFacts, address, cubes};
use crate::error::KernelError;
use crate::operand::{Buffer, FloatMatrix};

/// `out = Σ parts`, or `out += Σ parts` if `accumulate`. `parts` holds contiguous f32 matrices of the shape
/// of `out`, one after another, and they are added in that order. `out` is contiguous.
pub(crate) fn add_parts(
    client: &Client,
    parts: &Buffer,
    out: &FloatMatrix,
    accumulate: bool,
) -> Result<(), KernelError> {
    debug_assert!(out.is_contiguous());
    let len = out.extent();
    if len == 0 {
        return Ok(());
    }
    let width = match len.is_multiple_of(4) && out.starts_lines() && parts.starts_lines() {
        true => 4,
        false => 1,
    };
    let device = DeviceFacts::of(client);
    // SAFETY: `parts` holds whole matrices of `out`'s size, and the kernel accesses nothing outside of both.
    unsafe {
        add::launch_unchecked(
            client,
            cubes(client, len / width, device.cube_units as usize)?,
            device.cube_dim(),
            address(client, &[parts.len(), len])?,
            width,
            parts.lines(width),
            out.lines(width),
            parts.len() / len,
            len / width,
            accumulate,
            out.dtype().elem(),
        );
    }
    Ok(())
}

/// One unit per line.
#[cube(launch_unchecked, address_type = "dynamic")]
fn add<O: Float, V: Size>(
    parts: &[Vector<f32, V>],
    out: &mut [Vector<O, V>],
    count: usize,
    lines: usize,
    #[comptime] accumulate: bool,
    #[define(O)] _dtype: ElemType,
) {
    let line = ABSOLUTE_POS;
    if line < lines {
        let mut sum = parts[line];
        let mut part = 1usize.runtime();
        while part < count {
            sum += parts[part * lines + line];
            part += 1;
        }
        if comptime!(accumulate) {
            sum += Vector::cast_from(out[line]);
        }
        out[line] = Vector::cast_from(sum);
    }
}
