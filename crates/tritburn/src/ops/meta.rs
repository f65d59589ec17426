//! Shapes and dtypes of the operations' outputs, for Fusion's lazy registration.
//!
//! Fusion never compares them with what a backend returns, so `tests/suite/fusion.rs` does.

use burn::backend::fusion::custom::TensorSpec;
use burn::tensor::DType;
use tritburn_formats::{PackedLayout, layout::activation_words_per_row};

use super::bias::BiasMetadata;
use super::fragments;
use super::operand::WeightOperandMetadata;

pub(super) fn quantize_weight(
    _weight: &TensorSpec,
    layout: &PackedLayout,
) -> (TensorSpec, TensorSpec) {
    (
        TensorSpec::new([layout.word_count()].into(), DType::U32),
        TensorSpec::new([layout.scale_count()].into(), DType::F32),
    )
}

pub(super) fn quantize_activations(x: &TensorSpec) -> (TensorSpec, TensorSpec) {
    let [rows, cols] = [x.shape[0], x.shape[1]];
    (
        TensorSpec::new([rows * activation_words_per_row(cols)].into(), DType::U32),
        TensorSpec::new([rows].into(), DType::F32),
    )
}

pub(super) fn unpack_weight(
    _codes: &TensorSpec,
    _scales: &TensorSpec,
    layout: &PackedLayout,
    dtype: &DType,
) -> TensorSpec {
    TensorSpec::new([layout.out_features(), layout.in_features()].into(), *dtype)
}

pub(super) fn prepack(
    _codes: &TensorSpec,
    _scales: &TensorSpec,
    layout: &PackedLayout,
    int8_activations: &bool,
) -> (TensorSpec, TensorSpec) {
    let (words, rows) = fragments::lengths(layout, *int8_activations);
    (
        TensorSpec::new([words].into(), DType::U32),
        TensorSpec::new([rows].into(), DType::F32),
    )
}

pub(super) fn matmul_w2a8(
    _x_codes: &TensorSpec,
    x_scales: &TensorSpec,
    _weight: &WeightOperandMetadata,
    _bias: &BiasMetadata,
    layout: &PackedLayout,
    dtype: &DType,
) -> TensorSpec {
    TensorSpec::new([x_scales.shape[0], layout.out_features()].into(), *dtype)
}

pub(super) fn matmul_float(
    x: &TensorSpec,
    _weight: &WeightOperandMetadata,
    _bias: &BiasMetadata,
    layout: &PackedLayout,
) -> TensorSpec {
    TensorSpec::new([x.shape[0], layout.out_features()].into(), x.dtype)
}

pub(super) fn grad_input(
    dy: &TensorSpec,
    _codes: &TensorSpec,
    _scales: &TensorSpec,
    layout: &PackedLayout,
) -> TensorSpec {
    TensorSpec::new([dy.shape[0], layout.in_features()].into(), dy.dtype)
}

pub(super) fn grad_weight(
    _dy: &TensorSpec,
    _x_codes: &TensorSpec,
    _x_scales: &TensorSpec,
    layout: &PackedLayout,
    dtype: &DType,
) -> TensorSpec {
    TensorSpec::new([layout.out_features(), layout.in_features()].into(), *dtype)
}
