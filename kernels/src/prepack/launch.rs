//! Checked launches of the prepacking.

use cubecl::prelude::*;

use super::base::{FragmentLayout, FragmentOrder, PrepackedWeights};
use super::kernel;
use crate::decode::scale_map;
use crate::device::{DeviceFacts, address, cubes};
use crate::error::KernelError;
use crate::operand::{Buffer, PackedWeights};

/// Writes `weights` in the order of `prepacked`, and its row scales.
///
/// # Errors
/// [`KernelError::Layouts`] if the two are not of one layout; [`KernelError::GridTooLarge`] or
/// [`KernelError::AddressWidth`].
pub fn launch(
    client: &Client,
    weights: &PackedWeights,
    prepacked: &PrepackedWeights,
) -> Result<(), KernelError> {
    let layout = weights.layout();
    if layout != prepacked.layout() {
        return Err(KernelError::Layouts {
            expected: Box::new(layout.clone()),
            found: Box::new(prepacked.layout().clone()),
        });
    }
    let device = DeviceFacts::of(client);
    let dim = device.cube_dim();
    let fragments = prepacked.fragment_layout();
    let (count, rows) = (fragments.word_count(), layout.out_features());
    let address = address(client, &[count, layout.word_count()])?;
    let unit = fragments.order.decoded_unit(layout.code()) * layout.code().unit();
    let per_cube = dim.num_elems() as usize;
    let (word_cubes, row_cubes) = (
        cubes(client, count, per_cube)?,
        cubes(client, rows, per_cube)?,
    );
    // SAFETY: `PackedWeights` and `PrepackedWeights` hold buffers of the lengths that one layout
    // asks for, and units past the end do nothing.
    unsafe {
        kernel::prepack::launch_unchecked(
            client,
            word_cubes,
            dim,
            address,
            weights.words().arg(),
            prepacked.words().arg(),
            rows,
            layout.words_per_row(),
            fragments.col_tiles(),
            count,
            fragments.order,
            layout.code(),
        );
        kernel::row_scales::launch_unchecked(
            client,
            row_cubes,
            dim,
            address,
            weights.scales().arg(),
            prepacked.row_scales().arg(),
            scale_map(layout),
            rows,
            unit,
        );
    }
    Ok(())
}

/// The half fragments of `weights` transposed: rows are inputs, columns outputs.
pub fn transposed_layout(weights: &PackedWeights) -> FragmentLayout {
    FragmentLayout {
        order: FragmentOrder::Half,
        rows: weights.layout().in_features(),
        cols: weights.layout().out_features(),
    }
}

/// Writes the transpose of `weights` as half fragments into `words` (u32,
/// [`transposed_layout`]`.word_count()`).
///
/// # Errors
/// [`KernelError`] for a buffer of another length, [`KernelError::GridTooLarge`] or
/// [`KernelError::AddressWidth`].
pub fn launch_transposed(
    client: &Client,
    weights: &PackedWeights,
    words: &Buffer,
) -> Result<(), KernelError> {
    let fragments = transposed_layout(weights);
    let count = fragments.word_count();
    words.check_lines("transposed words", count)?;
    let layout = weights.layout();
    let dim = DeviceFacts::of(client).cube_dim();
    let address = address(client, &[count, layout.word_count()])?;
    let cubes = cubes(client, count, dim.num_elems() as usize)?;
    // SAFETY: both buffers have the lengths that the layout asks for; units past the end do nothing.
    unsafe {
        kernel::prepack_transposed::launch_unchecked(
            client,
            cubes,
            dim,
            address,
            weights.words().arg(),
            words.arg(),
            layout.out_features(),
            layout.words_per_row(),
            fragments.col_tiles(),
            count,
            layout.code(),
        );
    }
    Ok(())
}
