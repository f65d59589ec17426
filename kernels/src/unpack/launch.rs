//! Checked launch of the unpack kernel.

use cubecl::prelude::*;

use super::kernel::unpack;
use crate::device::{DeviceFacts, address, cubes};
use crate::device_code::decode::scale_map;
use crate::error::KernelError;
use crate::operand::{FloatMatrix, PackedWeights};

/// Writes the real weights of `packed` to `w` `[N, K]`, which the caller allocated.
///
/// # Errors
/// [`KernelError`] if the shapes differ or the device lacks the element type.
pub fn launch(client: &Client, packed: &PackedWeights, w: &FloatMatrix) -> Result<(), KernelError> {
    let layout = packed.layout();
    w.check(client, "w", [layout.out_features(), layout.in_features()])?;
    let device = DeviceFacts::of(client);
    let words = layout.word_count();
    // SAFETY: the buffers cover their operands, and the kernel stays within them.
    unsafe {
        unpack::launch_unchecked(
            client,
            cubes(client, words, device.cube_units as usize)?,
            device.cube_dim(),
            address(client, &[w.extent(), words])?,
            packed.words().arg(),
            packed.scales().arg(),
            w.lines(1),
            scale_map(layout),
            layout.out_features(),
            layout.in_features(),
            w.row_stride(),
            layout.words_per_row(),
            layout.code(),
            w.dtype().elem(),
        );
    }
    Ok(())
}
