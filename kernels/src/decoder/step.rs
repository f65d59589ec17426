//! Updates between decoding steps of the buffers that captured launches read.

use cubecl::prelude::*;

use crate::device::{DeviceFacts, address, cubes};
use crate::error::KernelError;
use crate::operand::Buffer;

/// Prepares the next step, after one that chose `ids` u32 `[T]`: `tokens = ids` and `positions += 1`, both
/// u32 `[T]`. T = 0 launches nothing.
///
/// # Errors
/// [`KernelError`] if lengths differ.
pub fn advance(
    client: &Client,
    ids: &Buffer,
    tokens: &Buffer,
    positions: &Buffer,
) -> Result<(), KernelError> {
    let rows = ids.len();
    ids.check_exact("ids", rows)?;
    tokens.check_exact("tokens", rows)?;
    positions.check_exact("positions", rows)?;
    if rows == 0 {
        return Ok(());
    }
    let device = DeviceFacts::of(client);
    // SAFETY: the buffers have `rows` words, and the kernel accesses no word past them.
    unsafe {
        advance_rows::launch_unchecked(
            client,
            cubes(client, rows, device.cube_units as usize)?,
            device.cube_dim(),
            address(client, &[rows])?,
            ids.arg(),
            tokens.arg(),
            positions.arg(),
            rows,
        );
    }
    Ok(())
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn advance_rows(ids: &[u32], tokens: &mut [u32], positions: &mut [u32], rows: usize) {
    let row = ABSOLUTE_POS;
    if row < rows {
        tokens[row] = ids[row];
        positions[row] += 1u32;
    }
}

/// `to = from` for u32 buffers of one length: moves data that the host has uploaded into a buffer that
/// captured launches read.
///
/// # Errors
/// [`KernelError`] if the lengths differ.
pub fn copy_u32(client: &Client, from: &Buffer, to: &Buffer) -> Result<(), KernelError> {
    from.check_exact("copied words", to.len())?;
    to.check_exact("copy", to.len())?;
    if to.is_empty() {
        return Ok(());
    }
    let device = DeviceFacts::of(client);
    // SAFETY: both buffers have `to.len()` words, and the kernel accesses no word past them.
    unsafe {
        copy_words::launch_unchecked(
            client,
            cubes(client, to.len(), device.cube_units as usize)?,
            device.cube_dim(),
            address(client, &[to.len()])?,
            from.arg(),
            to.arg(),
            to.len(),
        );
    }
    Ok(())
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn copy_words(from: &[u32], to: &mut [u32], len: usize) {
    if ABSOLUTE_POS < len {
        to[ABSOLUTE_POS] = from[ABSOLUTE_POS];
    }
}
