//! Shapes and dtypes of the operations' outputs, for Fusion's lazy registration.

use burn::backend::fusion::custom::TensorSpec;
use burn::tensor::DType;
use tritburn_formats::layout::activation_words_per_row;

use super::heads::Heads;
use super::operand::{Int8RowsMetadata, ResidualMetadata};
use super::tokens::Span;

fn matrix(rows: usize, cols: usize, dtype: DType) -> TensorSpec {
    TensorSpec::new([rows, cols].into(), dtype)
}

fn quantized(rows: usize, cols: usize) -> (TensorSpec, TensorSpec) {
    (
        TensorSpec::new([rows * activation_words_per_row(cols)].into(), DType::U32),
        TensorSpec::new([rows].into(), DType::F32),
    )
}

pub(super) fn rms_norm(
    x: &TensorSpec,
    _residual: &ResidualMetadata,
    _gamma: &TensorSpec,
    _epsilon: &f32,
) -> (TensorSpec, TensorSpec) {
    (x.clone(), x.clone())
}

pub(super) fn rms_norm_quantize(
    x: &TensorSpec,
    _residual: &ResidualMetadata,
    _gamma: &TensorSpec,
    _epsilon: &f32,
) -> (TensorSpec, TensorSpec, TensorSpec) {
    let (codes, scales) = quantized(x.shape[0], x.shape[1]);
    (x.clone(), codes, scales)
}

pub(super) fn relu2_glu_norm(
    gate_up: &TensorSpec,
    _gamma: &TensorSpec,
    _epsilon: &f32,
) -> TensorSpec {
    matrix(gate_up.shape[0], gate_up.shape[1] / 2, gate_up.dtype)
}

pub(super) fn relu2_glu_norm_quantize(
    gate_up: &TensorSpec,
    _gamma: &TensorSpec,
    _epsilon: &f32,
) -> (TensorSpec, TensorSpec) {
    quantized(gate_up.shape[0], gate_up.shape[1] / 2)
}

#[allow(clippy::too_many_arguments)]
pub(super) fn rotary_append(
    qkv: &TensorSpec,
    _table: &TensorSpec,
    _rows: &TensorSpec,
    _positions: &TensorSpec,
    keys: &TensorSpec,
    values: &TensorSpec,
    heads: &Heads,
    _capacity: &usize,
) -> (TensorSpec, TensorSpec, TensorSpec) {
    let q = matrix(qkv.shape[0], heads.query_width(), qkv.dtype);
    (q, keys.clone(), values.clone())
}

#[allow(clippy::too_many_arguments)]
pub(super) fn attention(
    q: &TensorSpec,
    _keys: &TensorSpec,
    _values: &TensorSpec,
    _rows: &TensorSpec,
    _positions: &TensorSpec,
    _heads: &Heads,
    _capacity: &usize,
    _span: &Option<Span>,
) -> TensorSpec {
    q.clone()
}

pub(super) fn embedding(table: &TensorSpec, ids: &TensorSpec, dtype: &DType) -> TensorSpec {
    matrix(ids.shape[0], table.shape[1], *dtype)
}

pub(super) fn dense_head(x: &TensorSpec, table: &TensorSpec) -> TensorSpec {
    matrix(x.shape[0], table.shape[0], DType::F32)
}

pub(super) fn int8_head(x: &TensorSpec, table: &Int8RowsMetadata) -> TensorSpec {
    matrix(x.shape[0], table.scales.shape[0], DType::F32)
}

pub(super) fn argmax(logits: &TensorSpec) -> TensorSpec {
    TensorSpec::new([logits.shape[0]].into(), DType::U32)
}

pub(super) fn advance(
    tokens: &TensorSpec,
    positions: &TensorSpec,
    _ids: &TensorSpec,
) -> (TensorSpec, TensorSpec) {
    (tokens.clone(), positions.clone())
}

pub(super) fn overwrite(target: &TensorSpec, _source: &TensorSpec) -> TensorSpec {
    target.clone()
}
