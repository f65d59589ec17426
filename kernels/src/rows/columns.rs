//! Sums over the rows of a matrix of partial sums, in a fixed order.

use cubecl::prelude::*;

use crate::device::{DeviceFacts, LANES, address, cubes};
use crate::error::KernelError;
use crate::operand::{Buffer, FloatVector};

/// `out[k] = Σ_p partials[p, k]` for f32 `partials` `[P, K]` and `out` `[K]`. P = 0 gives zeros.
pub(crate) fn column_sum(
    client: &Client,
    partials: &Buffer,
    out: &FloatVector,
) -> Result<(), KernelError> {
    let cols = out.len();
    if cols == 0 {
        return Ok(());
    }
    let device = DeviceFacts::of(client);
    let (lanes, splits) = match device.lockstep {
        true => (
            LANES as usize,
            (device.max_units.min(1024) / LANES) as usize,
        ),
        false => (device.cube_units as usize, 1),
    };
    // SAFETY: the buffers cover their operands, and the kernel stays within them.
    unsafe {
        add_columns::launch_unchecked(
            client,
            cubes(client, cols, lanes)?,
            CubeDim::new_1d((lanes * splits) as u32),
            address(client, &[partials.len(), cols])?,
            partials.arg(),
            out.arg(),
            partials.len() / cols,
            cols,
            lanes,
            splits,
        );
    }
    Ok(())
}

/// A cube adds `lanes` columns. Split `s` of its `splits` adds rows `s`, `s + splits`, …; split 0 then adds
/// the sums of all.
#[cube(launch_unchecked, address_type = "dynamic")]
fn add_columns(
    partials: &[f32],
    out: &mut [f32],
    rows: usize,
    cols: usize,
    #[comptime] lanes: usize,
    #[comptime] splits: usize,
) {
    let unit = UNIT_POS as usize;
    let (split, lane) = (unit / lanes, unit % lanes);
    let col = CUBE_POS * lanes + lane;
    let mut sum = 0.0f32;
    if col < cols {
        let mut row = split;
        while row < rows {
            sum += partials[row * cols + col];
            row += splits;
        }
    }
    if comptime!(splits > 1) {
        let mut shared = Shared::<[f32]>::new_slice(comptime!(lanes * splits));
        shared[unit] = sum;
        sync_cube();
        if split == 0 {
            #[unroll]
            for i in 1..splits {
                sum += shared[comptime!(i * lanes) + lane];
            }
        }
    }
    if split == 0 && col < cols {
        out[col] = sum;
    }
}
