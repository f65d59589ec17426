//! Checked launches of the prepacking.

use cubecl::prelude::*;
use tritburn_formats::{PackedLayout, ScaleGranularity};

use super::base::{FragmentOrder, PrepackedWeights};
use super::kernel;
use crate::device::{DeviceFacts, address, cubes};
use crate::device_code::decode::scale_map;
use crate::error::KernelError;
use crate::operand::{Buffer, PackedWeights};

/// Writes the codes of `weights` to `prepacked` in fragment order, and the row scales.
///
/// # Errors
/// [`KernelError::Layouts`] if the two have different layouts; [`KernelError::GridTooLarge`] or
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
    // SAFETY: the buffers of both operands have the lengths of their common layout, and units past
    // the end do nothing.
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

impl PrepackedWeights {
    /// The transpose of `weights` in half-precision fragment order, as weights of `layout` (`[in, out]`,
    /// one scale); `buffer` allocates. Its row scales are γ if `weights` has one scale, else 1: scales
    /// per row become scales per column, which the caller applies.
    ///
    /// # Errors
    /// [`KernelError::NotPrepackable`], [`KernelError::GridTooLarge`] or
    /// [`KernelError::AddressWidth`].
    pub(crate) fn transposed(
        client: &Client,
        weights: &PackedWeights,
        layout: PackedLayout,
        buffer: impl Fn(usize) -> Buffer,
    ) -> Result<Self, KernelError> {
        let order = FragmentOrder::Half;
        let fragments =
            Self::fragments(&layout, order).ok_or_else(|| KernelError::NotPrepackable {
                layout: Box::new(layout.clone()),
            })?;
        let (count, rows) = (fragments.word_count(), layout.out_features());
        let (words, row_scales) = (buffer(count), buffer(rows));
        let source = weights.layout();
        let dim = DeviceFacts::of(client).cube_dim();
        let per_cube = dim.num_elems() as usize;
        let address = address(client, &[count, source.word_count()])?;
        let unit = order.decoded_unit(source.code()) * source.code().unit();
        let one_scale = matches!(source.scale(), ScaleGranularity::Tensor);
        // SAFETY: the buffers have the lengths that the layouts ask for; units past the end do
        // nothing.
        unsafe {
            kernel::prepack_transposed::launch_unchecked(
                client,
                cubes(client, count, per_cube)?,
                dim,
                address,
                weights.words().arg(),
                words.arg(),
                source.out_features(),
                source.words_per_row(),
                fragments.col_tiles(),
                count,
                source.code(),
            );
            kernel::fill_scales::launch_unchecked(
                client,
                cubes(client, rows, per_cube)?,
                dim,
                address,
                weights.scales().arg(),
                row_scales.arg(),
                rows,
                unit,
                one_scale,
            );
        }
        Self::new(layout, order, words, row_scales)
    }
}
