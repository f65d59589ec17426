//! Weights in the order of the tensor-core kernels, on CubeCL devices.

use std::sync::Once;

use burn::tensor::DType;
use burn_cubecl::cubecl::client::Client;
use burn_cubecl::kernel::untile;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeBackend, CubeDevice};
use cubecl::std::tensor::into_contiguous_pitched;
use tritburn_formats::PackedLayout;
use tritburn_kernels::product::Weights;
use tritburn_kernels::{
    DeviceFacts, FragmentOrder, KernelError, PrepackedWeights, WeightOrder, prepack,
};

use super::cube::{buffer, checked, empty, packed_weights};
use super::operand::WeightOperand;
use crate::precision::InputPrecision;

/// Bytes that a tensor-core kernel loads at once.
const LINE_BYTES: usize = 16;

/// The order for products with inputs of `precision`.
pub(super) fn order(precision: InputPrecision) -> FragmentOrder {
    match precision {
        InputPrecision::Int8 => FragmentOrder::Int8,
        InputPrecision::Float => FragmentOrder::Half,
    }
}

/// Whether weights of `layout` have a fragment order at all.
pub(super) fn exist(layout: &PackedLayout, precision: InputPrecision) -> bool {
    PrepackedWeights::fragments(layout, order(precision)).is_some()
}

/// Whether `device` has kernels that read weights of `layout` in fragment order.
pub(super) fn wanted(
    device: &CubeDevice,
    layout: &PackedLayout,
    precision: InputPrecision,
) -> bool {
    matches!(device, CubeDevice::Cuda(_)) && multiplies(&device.client(), layout, order(precision))
}

/// [`wanted`], asked of a client.
pub(super) fn multiplies(client: &Client, layout: &PackedLayout, order: FragmentOrder) -> bool {
    WeightOrder::on(&DeviceFacts::of(client), layout, order) != WeightOrder::Canonical
}

/// Lengths of words and scales that [`TernaryOps::prepack`](super::backend::TernaryOps::prepack) returns.
pub(super) fn lengths(layout: &PackedLayout, precision: InputPrecision) -> (usize, usize) {
    match PrepackedWeights::fragments(layout, order(precision)) {
        Some(fragments) => (fragments.word_count(), layout.out_features()),
        None => (layout.word_count(), layout.scale_count()),
    }
}

/// Words in fragment order and row scales; `None` for a layout without fragments.
pub(super) fn prepack(
    codes: &CubeTensor,
    scales: &CubeTensor,
    layout: &PackedLayout,
    order: FragmentOrder,
) -> Option<(CubeTensor, CubeTensor)> {
    let fragments = PrepackedWeights::fragments(layout, order)?;
    let words = empty(codes, [fragments.word_count()].into(), DType::U32);
    let row_scales = empty(codes, [layout.out_features()].into(), DType::F32);
    checked(prepack::launch(
        &codes.client,
        &packed_weights(codes, scales, layout.clone()),
        &prepacked_weights(&words, &row_scales, layout, order),
    ));
    Some((words, row_scales))
}

/// Runs `product` on weights in fragment order where the device has kernels for them, else on the
/// canonical ones.
///
/// Weights that come without fragments are prepacked here, whatever the number of tokens: that
/// reads and writes 2 bits a weight, a training step has just read 32 of them to quantise, and the
/// sums of float activations must not depend on who prepacked.
pub(super) fn multiply(
    client: &Client,
    weight: WeightOperand<CubeBackend>,
    layout: PackedLayout,
    order: FragmentOrder,
    product: impl Fn(Weights<'_>) -> Result<(), KernelError>,
) {
    if multiplies(client, &layout, order) {
        let fragments = match &weight {
            WeightOperand::Prepacked {
                words, row_scales, ..
            }
            | WeightOperand::Fragments { words, row_scales } => {
                Some((words.clone(), row_scales.clone()))
            }
            WeightOperand::Canonical { codes, scales } => prepack(codes, scales, &layout, order),
        };
        if let Some((words, row_scales)) = fragments {
            let weights = prepacked_weights(&words, &row_scales, &layout, order);
            match product(Weights::Prepacked(&weights)) {
                Err(KernelError::Plan { reason }) if weight.has_canonical() => warn_once(&reason),
                result => return checked(result),
            }
        }
    }
    let (codes, scales) = weight.into_canonical();
    let weights = packed_weights(&codes, &scales, layout);
    checked(product(Weights::Canonical(&weights)));
}

/// `x` with rows that start at multiples of 16 bytes, as the tensor-core kernels load them; f32 is
/// split while it is loaded and may lie anywhere.
pub(super) fn whole_lines(x: CubeTensor) -> CubeTensor {
    let x = untile(x);
    let size = x.dtype.size();
    let starts = x.handle.offset_start.unwrap_or(0) as usize;
    let lines = match **x.meta.strides() {
        [row, 1] => (row * size).is_multiple_of(LINE_BYTES) && row >= x.meta.shape()[1],
        _ => false,
    };
    let one = x.meta.shape()[0] == 1 && x.meta.strides()[1] == 1;
    if x.dtype == DType::F32 || (starts.is_multiple_of(LINE_BYTES) && (lines || one)) {
        return x;
    }
    let (client, device, dtype) = (x.client.clone(), x.device.clone(), x.dtype);
    let element = burn::backend::cubecl::dtype_to_storage_type(dtype);
    let rows = into_contiguous_pitched(&client, x.binding(), element);
    CubeTensor::new(client, rows.handle, *rows.metadata, device, dtype)
}

fn prepacked_weights(
    words: &CubeTensor,
    row_scales: &CubeTensor,
    layout: &PackedLayout,
    order: FragmentOrder,
) -> PrepackedWeights {
    checked(PrepackedWeights::new(
        layout.clone(),
        order,
        buffer(words),
        buffer(row_scales),
    ))
}

fn warn_once(reason: &str) {
    static WARNING: Once = Once::new();
    WARNING.call_once(|| {
        tracing::warn!(
            reason,
            "no tensor-core kernel fits, running the portable ones"
        );
    });
}
