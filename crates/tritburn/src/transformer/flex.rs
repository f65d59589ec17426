//! Flex: the language-model operations of `tritburn-cpu` on Burn's CPU tensors.
//!
//! Operands are checked by [`super::api`] before they get here, so a refusal by the CPU crate is a
//! bug and panics with its message.

use burn::backend::Flex;
use burn::backend::TensorMetadata;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{DType, TensorData};
use burn_flex::FlexTensor;
use half::{bf16, f16};
use tritburn_cpu as kernels;
use tritburn_formats::layout::activation_words_per_row;
use tritburn_formats::quantize::activation::activation_bytes;

use super::backend::TransformerOps;
use super::heads::Heads;
use super::layout::CacheLayout;
use super::operand::{Int8Rows, StackLayer};
use super::stack::StackShape;
use super::tokens::Span;
use crate::ops::flex::{checked, contiguous_f32, float_tensor, slice, word_tensor};
use crate::training::{GatedActivation, Optional};

/// Runs `$body` with `$element` as the Rust type of a float dtype.
macro_rules! with_float {
    ($dtype:expr, $element:ident => $body:expr) => {
        match $dtype {
            DType::F32 => {
                type $element = f32;
                $body
            }
            DType::F16 => {
                type $element = f16;
                $body
            }
            DType::BF16 => {
                type $element = bf16;
                $body
            }
            other => unreachable!("{other:?} is refused by the checked functions"),
        }
    };
}

impl TransformerOps for Flex {
    fn rms_norm(
        x: FloatTensor<Self>,
        residual: Optional<Self>,
        gamma: FloatTensor<Self>,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let rows = Rows::new(x, residual, gamma);
        let mut y = vec![0.0; rows.len()];
        let sum = rows.run(|x, residual, gamma, sum| {
            let norm = kernels::RmsNorm {
                gamma,
                eps: epsilon,
            };
            kernels::rms_norm(x, residual, norm, sum, &mut y)
        });
        let y = float_tensor(y, rows.x.shape(), rows.dtype);
        (sum, y)
    }

    fn rms_norm_quantize(
        x: FloatTensor<Self>,
        residual: Optional<Self>,
        gamma: FloatTensor<Self>,
        epsilon: f32,
    ) -> (FloatTensor<Self>, IntTensor<Self>, FloatTensor<Self>) {
        let rows = Rows::new(x, residual, gamma);
        let (mut codes, mut scales) = quantized(rows.x.shape().dims());
        let sum = rows.run(|x, residual, gamma, sum| {
            let norm = kernels::RmsNorm {
                gamma,
                eps: epsilon,
            };
            kernels::rms_norm_quantize(x, residual, norm, sum, &mut codes, &mut scales)
        });
        let (codes, scales) = quantized_tensors(codes, scales);
        (sum, codes, scales)
    }

    fn gated(
        gate_up: FloatTensor<Self>,
        activation: GatedActivation,
        gamma: Optional<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        let dtype = gate_up.dtype();
        let gate_up = contiguous_f32(gate_up);
        let gamma = gamma.into_option().map(contiguous_f32);
        let [tokens, width] = gate_up.shape().dims();
        let mut y = vec![0.0; tokens * width / 2];
        let norm = gamma.as_ref().map(|gamma| kernels::RmsNorm {
            gamma: slice!(gamma, f32),
            eps: epsilon,
        });
        let gate = kernels::Gate {
            activation: activation.into(),
            norm,
        };
        checked(kernels::gated(
            slice!(gate_up, f32),
            width / 2,
            gate,
            &mut y,
        ));
        float_tensor(y, [tokens, width / 2].into(), dtype)
    }

    fn gated_norm_quantize(
        gate_up: FloatTensor<Self>,
        activation: GatedActivation,
        gamma: FloatTensor<Self>,
        epsilon: f32,
    ) -> (IntTensor<Self>, FloatTensor<Self>) {
        let (gate_up, gamma) = (contiguous_f32(gate_up), contiguous_f32(gamma));
        let [tokens, width] = gate_up.shape().dims();
        let (mut codes, mut scales) = quantized([tokens, width / 2]);
        let gate = kernels::Gate {
            activation: activation.into(),
            norm: Some(kernels::RmsNorm {
                gamma: slice!(gamma, f32),
                eps: epsilon,
            }),
        };
        checked(kernels::gated_quantize(
            slice!(gate_up, f32),
            width / 2,
            gate,
            &mut codes,
            &mut scales,
        ));
        quantized_tensors(codes, scales)
    }

    fn norm_heads(
        qkv: FloatTensor<Self>,
        gains: FloatTensor<Self>,
        heads: Heads,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        let (dtype, shape) = (qkv.dtype(), qkv.shape());
        let (qkv, gains) = (contiguous_f32(qkv), contiguous_f32(gains));
        let (query, key) = slice!(gains, f32).split_at(heads.size);
        let x = slice!(qkv, f32);
        let mut y = x.to_vec();
        let (queries, keys) = (heads.query_width(), heads.key_value_width());
        let width = heads.fused_width();
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            for (columns, gamma) in [(0..queries, query), (queries..queries + keys, key)] {
                let norm = kernels::RmsNorm {
                    gamma,
                    eps: epsilon,
                };
                let x = &x[columns.clone()];
                checked(kernels::rms_norm(x, None, norm, None, &mut y[columns]));
            }
        }
        float_tensor(y, shape, dtype)
    }

    fn rotary_append(
        qkv: FloatTensor<Self>,
        table: FloatTensor<Self>,
        rows: IntTensor<Self>,
        positions: IntTensor<Self>,
        blocks: IntTensor<Self>,
        mut keys: FloatTensor<Self>,
        mut values: FloatTensor<Self>,
        layout: CacheLayout,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let dtype = qkv.dtype();
        let (qkv, table) = (contiguous_f32(qkv), contiguous_f32(table));
        let (rows, positions) = (rows.to_contiguous(), positions.to_contiguous());
        let (blocks, heads) = (blocks.to_contiguous(), layout.heads);
        let tokens = checked(kernels::TokenView::new(
            slice!(rows, u32),
            slice!(positions, u32),
        ));
        let shape = [tokens.len(), heads.query_width()];
        let mut q = vec![0.0; shape[0] * shape[1]];
        let batch = cache_rows(&keys, layout);
        with_float!(keys.dtype(), E => {
            let (keys, values) = (keys.storage_mut::<E>(), values.storage_mut::<E>());
            let heads = cpu_heads(heads);
            let cache = checked(match block_table(&blocks, layout) {
                None => kernels::KvViewMut::new(keys, values, batch, layout.capacity, heads),
                Some(table) => kernels::KvViewMut::paged(keys, values, table, heads),
            });
            let (qkv, table) = (slice!(qkv, f32), slice!(table, f32));
            checked(kernels::rotary_append(qkv, tokens, table, &mut q, cache));
        });
        (float_tensor(q, shape.into(), dtype), keys, values)
    }

    fn attention(
        q: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        rows: IntTensor<Self>,
        positions: IntTensor<Self>,
        blocks: IntTensor<Self>,
        layout: CacheLayout,
        _span: Option<Span>,
    ) -> FloatTensor<Self> {
        let (dtype, shape) = (q.dtype(), q.shape());
        let q = contiguous_f32(q);
        let (rows, positions) = (rows.to_contiguous(), positions.to_contiguous());
        let (blocks, heads) = (blocks.to_contiguous(), layout.heads);
        let tokens = checked(kernels::TokenView::new(
            slice!(rows, u32),
            slice!(positions, u32),
        ));
        let mut out = vec![0.0; shape.num_elements()];
        let batch = cache_rows(&keys, layout);
        with_float!(keys.dtype(), E => {
            let (keys, values) = (slice!(keys, E), slice!(values, E));
            let of = cpu_heads(heads);
            let cache = checked(match block_table(&blocks, layout) {
                None => kernels::KvView::new(keys, values, batch, layout.capacity, of),
                Some(table) => kernels::KvView::paged(keys, values, table, of),
            });
            let scale = 1.0 / (heads.size as f32).sqrt();
            checked(kernels::attention(slice!(q, f32), tokens, cache, scale, &mut out));
        });
        float_tensor(out, shape, dtype)
    }

    fn embedding(
        table: FloatTensor<Self>,
        ids: IntTensor<Self>,
        dtype: DType,
    ) -> FloatTensor<Self> {
        let (table, ids) = (table.to_contiguous(), ids.to_contiguous());
        let [_, features] = table.shape().dims();
        let ids = slice!(ids, u32);
        let mut x = vec![0.0; ids.len() * features];
        with_float!(table.dtype(), E => {
            checked(kernels::embedding(slice!(table, E), features, ids, &mut x));
        });
        float_tensor(x, [ids.len(), features].into(), dtype)
    }

    fn dense_head(x: FloatTensor<Self>, table: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, table) = (contiguous_f32(x), table.to_contiguous());
        let [tokens, features] = x.shape().dims();
        let [vocabulary, _] = table.shape().dims();
        let mut logits = vec![0.0; tokens * vocabulary];
        with_float!(table.dtype(), E => {
            let (x, table) = (slice!(x, f32), slice!(table, E));
            checked(kernels::dense_head(x, table, features, &mut logits));
        });
        float_tensor(logits, [tokens, vocabulary].into(), DType::F32)
    }

    fn int8_head(x: FloatTensor<Self>, table: Int8Rows<Self>) -> FloatTensor<Self> {
        let x = contiguous_f32(x);
        let (codes, scales) = (table.codes.to_contiguous(), table.scales.to_contiguous());
        let [tokens, features] = x.shape().dims();
        let (mut x_codes, mut x_scales) = quantized([tokens, features]);
        checked(kernels::quantize_activations(
            slice!(x, f32),
            features,
            &mut x_codes,
            &mut x_scales,
        ));
        // Padding is zero on both sides: as good as columns.
        let columns = 4 * activation_words_per_row(features);
        let scales = slice!(scales, f32);
        let mut logits = vec![0.0; tokens * scales.len()];
        let x = checked(kernels::QuantizedView::new(&x_codes, &x_scales, columns));
        let codes = activation_bytes(slice!(codes, u32));
        let table = checked(kernels::Int8View::new(codes, scales, columns));
        checked(kernels::int8_head(x, table, &mut logits));
        float_tensor(logits, [tokens, scales.len()].into(), DType::F32)
    }

    fn argmax(logits: FloatTensor<Self>) -> IntTensor<Self> {
        let logits = logits.to_contiguous();
        let [rows, vocabulary] = logits.shape().dims();
        let mut ids = vec![0; rows];
        checked(kernels::argmax(slice!(logits, f32), vocabulary, &mut ids));
        word_tensor(ids)
    }

    fn draw(
        logits: FloatTensor<Self>,
        draws: IntTensor<Self>,
        positions: IntTensor<Self>,
    ) -> IntTensor<Self> {
        let logits = logits.to_contiguous();
        let (draws, positions) = (draws.to_contiguous(), positions.to_contiguous());
        let [rows, vocabulary] = logits.shape().dims();
        let mut ids = vec![0; rows];
        checked(kernels::draw(
            slice!(logits, f32),
            vocabulary,
            slice!(draws, u32),
            slice!(positions, u32),
            &mut ids,
        ));
        word_tensor(ids)
    }

    fn advance(
        _tokens: IntTensor<Self>,
        mut positions: IntTensor<Self>,
        ids: IntTensor<Self>,
    ) -> (IntTensor<Self>, IntTensor<Self>) {
        for position in positions.storage_mut::<u32>() {
            *position = position.saturating_add(1);
        }
        (ids, positions)
    }

    fn record_stack(
        _table: IntTensor<Self>,
        _layer: StackLayer<Self>,
        _layout: CacheLayout,
        _shape: StackShape,
        _index: usize,
    ) -> IntTensor<Self> {
        unreachable!("no stack is claimed on a CPU")
    }

    fn stack(
        _x: FloatTensor<Self>,
        _table: IntTensor<Self>,
        _rows: IntTensor<Self>,
        _positions: IntTensor<Self>,
        _blocks: IntTensor<Self>,
        _keys: FloatTensor<Self>,
        _values: FloatTensor<Self>,
        _layout: CacheLayout,
        _shape: StackShape,
        _epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("no stack is claimed on a CPU")
    }

    fn overwrite(_target: IntTensor<Self>, source: IntTensor<Self>) -> IntTensor<Self> {
        source
    }
}

/// Operands of a norm, contiguous and in f32.
struct Rows {
    x: FlexTensor,
    residual: Option<FlexTensor>,
    gamma: FlexTensor,
    dtype: DType,
}

impl Rows {
    fn new(x: FlexTensor, residual: Optional<Flex>, gamma: FlexTensor) -> Self {
        let dtype = x.dtype();
        Self {
            x: contiguous_f32(x),
            residual: residual.into_option().map(contiguous_f32),
            gamma: contiguous_f32(gamma),
            dtype,
        }
    }

    fn len(&self) -> usize {
        self.x.shape().num_elements()
    }

    /// Runs `norm(x, residual, gamma, sum)` and returns the sum, which is `x` without a residual.
    fn run(
        &self,
        norm: impl FnOnce(
            &[f32],
            Option<&[f32]>,
            &[f32],
            Option<&mut [f32]>,
        ) -> Result<(), kernels::CpuError>,
    ) -> FlexTensor {
        let (x, gamma) = (slice!(self.x, f32), slice!(self.gamma, f32));
        let Some(residual) = &self.residual else {
            checked(norm(x, None, gamma, None));
            return match self.dtype {
                DType::F32 => self.x.clone(),
                dtype => float_tensor(x.to_vec(), self.x.shape(), dtype),
            };
        };
        let mut sum = vec![0.0; self.len()];
        checked(norm(x, Some(slice!(residual, f32)), gamma, Some(&mut sum)));
        float_tensor(sum, self.x.shape(), self.dtype)
    }
}

fn quantized([tokens, features]: [usize; 2]) -> (Vec<u32>, Vec<f32>) {
    let words = tokens * activation_words_per_row(features);
    (vec![0; words], vec![0.0; tokens])
}

fn quantized_tensors(codes: Vec<u32>, scales: Vec<f32>) -> (FlexTensor, FlexTensor) {
    let tokens = scales.len();
    let scales = FlexTensor::from_data(TensorData::new(scales, [tokens]));
    (word_tensor(codes), scales)
}

fn block_table(blocks: &FlexTensor, layout: CacheLayout) -> Option<kernels::BlockTable<'_>> {
    layout.block.map(|positions| kernels::BlockTable {
        blocks: slice!(blocks, u32),
        per_row: layout.blocks_per_row(),
        positions,
    })
}

/// Rows, or blocks.
fn cache_rows(keys: &FlexTensor, layout: CacheLayout) -> usize {
    let row = layout.heads.key_value_width() * layout.stored();
    keys.shape().num_elements().checked_div(row).unwrap_or(0)
}

fn cpu_heads(heads: Heads) -> kernels::Heads {
    checked(kernels::Heads::new(
        heads.query,
        heads.key_value,
        heads.size,
    ))
}
