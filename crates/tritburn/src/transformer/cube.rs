//! CubeCL devices: the kernels of `tritburn-kernels` on Burn's tensors.
//!
//! Operands are checked by [`super::api`] before they get here, so a refusal by the kernel crate is
//! a bug and panics with its message.

use burn::backend::TensorMetadata;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_dtype;
use burn_cubecl::tensor::CubeTensor;
use tritburn_formats::layout::activation_words_per_row;
use tritburn_formats::{PackedLayout, ScaleGranularity};
use tritburn_kernels::decoder::norm::{Residual as Addend, RowOutput};
use tritburn_kernels::decoder::rotary::Placement;
use tritburn_kernels::decoder::{
    argmax, attention, dense, embedding, glu, norm, rotary, stack, step,
};
use tritburn_kernels::{
    BlockTable, FragmentOrder, KvCache, PrepackedWeights, QuantizedActivations, quantize,
};

use super::backend::TransformerOps;
use super::heads::Heads;
use super::layout::CacheLayout;
use super::operand::{Int8Rows, StackLayer};
use super::scratch;
use super::stack::StackShape;
use super::tokens::Span;
use crate::ops::cube::{
    activations, buffer, checked, empty, float_matrix, float_type, float_vector,
};
use crate::training::{GatedActivation, Optional};

impl TransformerOps for CubeBackend {
    fn rms_norm(
        x: FloatTensor<Self>,
        residual: Optional<Self>,
        gamma: FloatTensor<Self>,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let y = empty(&x, x.shape(), x.dtype());
        let out = float_matrix(y.clone());
        let sum = normed(x, residual, gamma, epsilon, RowOutput::Float(&out));
        (sum, y)
    }

    fn rms_norm_quantize(
        x: FloatTensor<Self>,
        residual: Optional<Self>,
        gamma: FloatTensor<Self>,
        epsilon: f32,
    ) -> (FloatTensor<Self>, IntTensor<Self>, FloatTensor<Self>) {
        let (codes, scales, out) = quantized(&x, x.shape().dims());
        let sum = normed(x, residual, gamma, epsilon, RowOutput::Int8(&out));
        (sum, codes, scales)
    }

    fn gated(
        gate_up: FloatTensor<Self>,
        activation: GatedActivation,
        gamma: Optional<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        let [tokens, width] = gate_up.shape().dims();
        let y = empty(&gate_up, [tokens, width / 2].into(), gate_up.dtype());
        let out = float_matrix(y.clone());
        let gamma = gamma.into_option();
        gate(gate_up, activation, gamma, epsilon, RowOutput::Float(&out));
        y
    }

    fn gated_norm_quantize(
        gate_up: FloatTensor<Self>,
        activation: GatedActivation,
        gamma: FloatTensor<Self>,
        epsilon: f32,
    ) -> (IntTensor<Self>, FloatTensor<Self>) {
        let [tokens, width] = gate_up.shape().dims();
        let (codes, scales, out) = quantized(&gate_up, [tokens, width / 2]);
        let gamma = Some(gamma);
        gate(gate_up, activation, gamma, epsilon, RowOutput::Int8(&out));
        (codes, scales)
    }

    fn norm_heads(
        qkv: FloatTensor<Self>,
        gains: FloatTensor<Self>,
        heads: Heads,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        let y = empty(&qkv, qkv.shape(), qkv.dtype());
        let client = qkv.client.clone();
        let norm = norm::HeadNorm {
            heads: heads.query,
            kv_heads: heads.key_value,
            dim: heads.size,
            eps: epsilon,
        };
        let (qkv, out) = (float_matrix(qkv), float_matrix(y.clone()));
        checked(norm::heads(&client, &qkv, &buffer(&gains), norm, &out));
        y
    }

    fn rotary_append(
        qkv: FloatTensor<Self>,
        table: FloatTensor<Self>,
        rows: IntTensor<Self>,
        positions: IntTensor<Self>,
        blocks: IntTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        layout: CacheLayout,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [tokens, _] = qkv.shape().dims();
        let width = layout.heads.query_width();
        let q = empty(&qkv, [tokens, width].into(), qkv.dtype());
        let client = qkv.client.clone();
        let cache = cache(&keys, &values, &blocks, layout);
        checked(rotary::launch(
            &client,
            &float_matrix(qkv),
            &buffer(&table),
            Placement {
                rows: &buffer(&rows),
                positions: &buffer(&positions),
            },
            &float_matrix(q.clone()),
            1.0,
            &cache,
        ));
        (q, keys, values)
    }

    fn attention(
        q: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        rows: IntTensor<Self>,
        positions: IntTensor<Self>,
        blocks: IntTensor<Self>,
        layout: CacheLayout,
        span: Option<Span>,
    ) -> FloatTensor<Self> {
        let out = empty(&q, q.shape(), q.dtype());
        let client = q.client.clone();
        let cache = cache(&keys, &values, &blocks, layout);
        let place = Placement {
            rows: &buffer(&rows),
            positions: &buffer(&positions),
        };
        let launch = match span {
            Some(_) => attention::prefill,
            None => attention::launch,
        };
        let scale = 1.0 / (layout.heads.size as f32).sqrt();
        let slots = match span {
            Some(_) => 0,
            None => attention::slots(&client, q.shape()[0], layout.heads.query, &cache),
        };
        let scratch = scratch::attention(&client, &q.device, slots);
        let (q, y) = (float_matrix(q), float_matrix(out.clone()));
        checked(launch(&client, &q, &cache, place, &y, scale, &scratch));
        out
    }

    fn embedding(
        table: FloatTensor<Self>,
        ids: IntTensor<Self>,
        dtype: DType,
    ) -> FloatTensor<Self> {
        let shape = [ids.shape()[0], table.shape()[1]];
        let x = empty(&table, shape.into(), dtype);
        let client = table.client.clone();
        let (table, out) = (float_matrix(table), float_matrix(x.clone()));
        checked(embedding::launch(&client, &table, &buffer(&ids), &out));
        x
    }

    fn dense_head(x: FloatTensor<Self>, table: FloatTensor<Self>) -> FloatTensor<Self> {
        let logits = logits(&x, table.shape()[0]);
        let client = x.client.clone();
        let table = float_matrix(table);
        let (x, y) = (float_matrix(x), float_matrix(logits.clone()));
        checked(dense::launch(&client, &x, &table, &y));
        logits
    }

    fn int8_head(x: FloatTensor<Self>, table: Int8Rows<Self>) -> FloatTensor<Self> {
        let logits = logits(&x, table.scales.shape()[0]);
        let client = x.client.clone();
        let (_, _, rounded) = quantized(&x, x.shape().dims());
        let table = activations(&table.codes, &table.scales, x.shape()[1]);
        let (x, y) = (float_matrix(x), float_matrix(logits.clone()));
        checked(quantize::activation::launch(&client, &x, &rounded));
        checked(dense::launch_int8(&client, &rounded, &table, &y));
        logits
    }

    fn argmax(logits: FloatTensor<Self>) -> IntTensor<Self> {
        let [tokens, _] = logits.shape().dims();
        let ids = empty(&logits, [tokens].into(), DType::U32);
        let client = logits.client.clone();
        let scratch = scratch::argmax(&client, &logits.device, tokens);
        let logits = float_matrix(logits);
        checked(argmax::launch(&client, &logits, &buffer(&ids), &scratch));
        ids
    }

    fn draw(
        logits: FloatTensor<Self>,
        draws: IntTensor<Self>,
        positions: IntTensor<Self>,
    ) -> IntTensor<Self> {
        let [tokens, _] = logits.shape().dims();
        let ids = empty(&logits, [tokens].into(), DType::U32);
        let client = logits.client.clone();
        let scratch = scratch::argmax(&client, &logits.device, tokens);
        let logits = float_matrix(logits);
        let draws = argmax::Draws {
            draws: &buffer(&draws),
            positions: &buffer(&positions),
        };
        checked(argmax::launch_draw(
            &client,
            &logits,
            draws,
            &buffer(&ids),
            &scratch,
        ));
        ids
    }

    fn advance(
        tokens: IntTensor<Self>,
        positions: IntTensor<Self>,
        ids: IntTensor<Self>,
    ) -> (IntTensor<Self>, IntTensor<Self>) {
        let client = tokens.client.clone();
        checked(step::advance(
            &client,
            &buffer(&ids),
            &buffer(&tokens),
            &buffer(&positions),
        ));
        (tokens, positions)
    }

    fn record_stack(
        table: IntTensor<Self>,
        layer: StackLayer<Self>,
        layout: CacheLayout,
        shape: StackShape,
        index: usize,
    ) -> IntTensor<Self> {
        let client = table.client.clone();
        let StackShape {
            hidden,
            inner,
            heads,
            code,
            ..
        } = shape;
        // Fragments have a scale for each row, whatever the granularity was.
        let weights = |words: &CubeTensor, scales: &CubeTensor, [rows, cols]: [usize; 2]| {
            let layout = PackedLayout::new(rows, cols, code, ScaleGranularity::Row);
            let layout = layout.expect("weights were checked before dispatch");
            let (words, scales) = (buffer(words), buffer(scales));
            checked(PrepackedWeights::new(
                layout,
                FragmentOrder::Int8,
                words,
                scales,
            ))
        };
        let width = heads.query_width();
        let qkv = weights(&layer.qkv, &layer.qkv_scales, [heads.fused_width(), hidden]);
        let output = weights(&layer.output, &layer.output_scales, [hidden, width]);
        let gate_up = weights(&layer.gate_up, &layer.gate_up_scales, [2 * inner, hidden]);
        let down = weights(&layer.down, &layer.down_scales, [hidden, inner]);
        let cache = cache(
            &layer.keys,
            &layer.values,
            &table,
            CacheLayout {
                block: None,
                capacity: layout.stored(),
                ..layout
            },
        );
        checked(stack::record(
            &client,
            &shape.into(),
            &stack::StackLayer {
                qkv: &qkv,
                output: &output,
                gate_up: &gate_up,
                down: &down,
                input_norm: &float_vector(layer.input_norm),
                attention_sub_norm: &float_vector(layer.attention_sub_norm),
                post_attention_norm: &float_vector(layer.post_attention_norm),
                ffn_sub_norm: &float_vector(layer.ffn_sub_norm),
                rotary: &buffer(&layer.rotary),
                cache: &cache,
            },
            index,
            &buffer(&table),
        ));
        table
    }

    fn stack(
        x: FloatTensor<Self>,
        table: IntTensor<Self>,
        rows: IntTensor<Self>,
        positions: IntTensor<Self>,
        blocks: IntTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        layout: CacheLayout,
        shape: StackShape,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let client = x.client.clone();
        let [sum, delta] = [(), ()].map(|()| empty(&x, x.shape(), x.dtype()));
        let scratch = scratch::stack(&client, &x.device, shape);
        let cache = cache(&keys, &values, &blocks, layout);
        checked(stack::launch(
            &client,
            &shape.into(),
            shape.layers,
            &float_matrix(x),
            &buffer(&table),
            shape.rotary_positions,
            Placement {
                rows: &buffer(&rows),
                positions: &buffer(&positions),
            },
            &cache,
            epsilon,
            1.0 / (shape.heads.size as f32).sqrt(),
            &scratch,
            &float_matrix(sum.clone()),
            &float_matrix(delta.clone()),
        ));
        (sum, delta)
    }

    fn overwrite(target: IntTensor<Self>, source: IntTensor<Self>) -> IntTensor<Self> {
        let client = target.client.clone();
        checked(step::copy_u32(&client, &buffer(&source), &buffer(&target)));
        target
    }
}

/// Runs the norm and returns `x + residual`, which is `x` without a residual.
fn normed(
    x: CubeTensor,
    residual: Optional<CubeBackend>,
    gamma: CubeTensor,
    epsilon: f32,
    out: RowOutput<'_>,
) -> CubeTensor {
    let client = x.client.clone();
    let gamma = float_vector(gamma);
    let matrix = float_matrix(x.clone());
    match residual.into_option() {
        None => {
            checked(norm::launch(
                &client,
                &matrix,
                Addend::None,
                &gamma,
                epsilon,
                out,
            ));
            x
        }
        Some(residual) => {
            let sum = empty(&x, x.shape(), x.dtype());
            let (add, written) = (float_matrix(residual), float_matrix(sum.clone()));
            let addend = Addend::Add {
                add: &add,
                sum: &written,
            };
            checked(norm::launch(&client, &matrix, addend, &gamma, epsilon, out));
            sum
        }
    }
}

fn gate(
    gate_up: CubeTensor,
    activation: GatedActivation,
    gamma: Option<CubeTensor>,
    epsilon: f32,
    out: RowOutput<'_>,
) {
    let client = gate_up.client.clone();
    let (gate_up, gamma) = (float_matrix(gate_up), gamma.map(float_vector));
    let norm = gamma.as_ref().map(|gamma| (gamma, epsilon));
    checked(glu::launch(&client, &gate_up, activation.into(), norm, out));
}

/// Codes and scales for `[tokens, features]` activations on the device of `like`, and both as the
/// kernels write them.
fn quantized(
    like: &CubeTensor,
    [tokens, features]: [usize; 2],
) -> (CubeTensor, CubeTensor, QuantizedActivations) {
    let words = tokens * activation_words_per_row(features);
    let codes = empty(like, [words].into(), DType::U32);
    let scales = empty(like, [tokens].into(), DType::F32);
    let out = activations(&codes, &scales, features);
    (codes, scales, out)
}

fn logits(x: &CubeTensor, vocabulary: usize) -> CubeTensor {
    let shape = [x.shape()[0], vocabulary].into();
    empty_device_dtype(x.client.clone(), x.device.clone(), shape, DType::F32)
}

fn cache(
    keys: &CubeTensor,
    values: &CubeTensor,
    blocks: &CubeTensor,
    layout: CacheLayout,
) -> KvCache {
    let (keys, values) = (
        into_contiguous(keys.clone()),
        into_contiguous(values.clone()),
    );
    let dtype = float_type(keys.dtype);
    let (heads, positions) = (layout.heads, layout.stored());
    let row = heads.key_value_width() * positions;
    let rows = keys.shape().num_elements().checked_div(row).unwrap_or(0);
    let shape = [rows, heads.key_value, positions, heads.size];
    let (keys, values) = (keys.handle, values.handle);
    checked(match layout.block {
        None => KvCache::new(keys, values, shape, dtype),
        Some(_) => {
            let table = BlockTable {
                blocks: buffer(blocks),
                per_row: layout.blocks_per_row(),
            };
            KvCache::paged(keys, values, shape, table, dtype)
        }
    })
}

impl From<StackShape> for stack::StackShape {
    fn from(shape: StackShape) -> Self {
        Self {
            hidden: shape.hidden,
            inner: shape.inner,
            heads: shape.heads.query,
            kv_heads: shape.heads.key_value,
            dim: shape.heads.size,
            activation: shape.activation.into(),
            sub_norms: shape.sub_norms,
            code: shape.code,
            dtype: float_type(shape.dtype),
        }
    }
}
