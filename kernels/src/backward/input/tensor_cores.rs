//! `dX = dY · Ŵ` on tensor cores, in half precision: Ŵ is transposed into fragment order, and the
//! forward product multiplies with it.

use cubecl::prelude::*;
use tritburn_formats::{PackedLayout, ScaleGranularity};

use crate::device::{DeviceFacts, address, cubes};
use crate::device_code::decode::{ScaleMap, scale_index, scale_map};
use crate::error::KernelError;
use crate::operand::{Buffer, FloatMatrix, FloatType, LINE_BYTES, PackedWeights};
use crate::prepack::PrepackedWeights;
use crate::product::{self, Strategy};

/// Whether [`launch`] takes these operands on `device`: it needs tensor cores, gradients in half
/// precision whose rows start at multiples of 16 bytes, and weights without scales per group.
pub(super) fn fits(dy: &FloatMatrix, weights: &PackedWeights, device: &DeviceFacts) -> bool {
    let cores = device.cuda.is_some_and(|cuda| cuda.capability >= 80);
    let grouped = matches!(weights.layout().scale(), ScaleGranularity::Group { .. });
    cores && dy.dtype() != FloatType::F32 && dy.starts_lines() && !grouped
}

/// Launches the product. A scale per tensor is applied to the sums. Scales per row belong to the
/// contracted dimension here, so they multiply the gradients first, rounded to the gradients' type.
pub(super) fn launch(
    client: &Client,
    dy: &FloatMatrix,
    weights: &PackedWeights,
    dx: &FloatMatrix,
    device: &DeviceFacts,
) -> Result<(), KernelError> {
    let prepacked = transposed(client, weights)?;
    match weights.layout().scale() {
        ScaleGranularity::Tensor => {
            product::w2a16(client, dy, &prepacked, None, dx, Strategy::Auto)
        }
        _ => {
            let scaled = scale_columns(client, dy, weights, device)?;
            product::w2a16(client, &scaled, &prepacked, None, dx, Strategy::Auto)
        }
    }
}

/// Ŵᵀ in fragment order. Its row scales are γ if the weights have a single scale, else 1.
fn transposed(client: &Client, weights: &PackedWeights) -> Result<PrepackedWeights, KernelError> {
    let layout = weights.layout();
    let (rows, cols) = (layout.in_features(), layout.out_features());
    let invalid = |error: tritburn_formats::LayoutError| KernelError::Plan {
        reason: format!("the transpose of {layout:?}: {error}"),
    };
    let transpose = PackedLayout::new(rows, cols, layout.code(), ScaleGranularity::Tensor);
    let buffer = |words: usize| Buffer::new(client.empty(words * 4), words);
    PrepackedWeights::transposed(client, weights, transpose.map_err(invalid)?, buffer)
}

/// `dY · diag(γ)`, contiguous, in dY's type.
fn scale_columns(
    client: &Client,
    dy: &FloatMatrix,
    weights: &PackedWeights,
    device: &DeviceFacts,
) -> Result<FloatMatrix, KernelError> {
    let shape = [dy.rows(), dy.cols()];
    // The row stride of dY, so that these rows start at multiples of 16 bytes as well.
    let strides = [dy.row_stride(), 1];
    let handle = client.empty(dy.extent() * dy.dtype().size());
    let scaled = FloatMatrix::new(handle, shape, strides, dy.dtype())?;
    let whole = LINE_BYTES as usize / dy.dtype().size();
    let width = match shape[1].is_multiple_of(whole) {
        true => whole,
        false => 1,
    };
    let lines = shape[1] / width;
    let count = shape[0] * lines;
    // SAFETY: both matrices have the shape and stride that the kernel is given, and a scale for
    // every column.
    unsafe {
        scale::launch_unchecked(
            client,
            cubes(client, count, device.cube_units as usize)?,
            device.cube_dim(),
            address(client, &[dy.extent(), count])?,
            width,
            dy.lines(width),
            scaled.lines(width),
            weights.scales().arg(),
            scale_map(weights.layout()),
            lines,
            dy.row_stride() / width,
            count,
            dy.dtype().elem(),
        );
    }
    Ok(scaled)
}

#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
fn scale<F: Float, V: Size>(
    dy: &[Vector<F, V>],
    out: &mut [Vector<F, V>],
    scales: &[f32],
    map: ScaleMap,
    lines: usize,
    stride: usize,
    count: usize,
    #[define(F)] _dtype: ElemType,
) {
    if ABSOLUTE_POS < count {
        let line = ABSOLUTE_POS % lines;
        let at = (ABSOLUTE_POS / lines) * stride + line;
        let values = dy[at];
        let mut scaled = Vector::<F, V>::empty();
        #[unroll]
        for j in 0..V::value() {
            let scale = scales[scale_index(&map, line * V::value() + j, 0usize)];
            scaled.insert(j, F::cast_from(f32::cast_from(values.extract(j)) * scale));
        }
        out[at] = scaled;
    }
}
