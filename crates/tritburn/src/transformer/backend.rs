//! The backend extension trait.

// With no backend compiled in, the generated dispatch has nothing to pass the arguments to.
#![cfg_attr(
    not(any(feature = "flex", feature = "cube")),
    allow(unused_imports, unused_variables)
)]

#[cfg(feature = "cube")]
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, backend_extension};
use burn::tensor::DType;

use super::heads::Heads;
use super::layout::CacheLayout;
use super::operand::{Int8Rows, StackLayer};
use super::stack::StackShape;
use super::tokens::Span;
#[cfg(feature = "cube")]
use crate::ops::quantized;
use crate::training::{GatedActivation, Optional};

/// Fused operations of a decoder.
///
/// Shapes: `T` tokens, `K` features. Quantised activations are those of `TernaryOps`: U32 `[T · 4 · ceil(K / 16)]` with F32 `[T]` scales. All
/// arithmetic is f32, whatever the dtype of the tensors.
///
/// Callers check shapes, dtypes and devices first: use the functions of
/// [`crate::transformer`](super).
#[backend_extension(
    Flex: cfg(feature = "flex"),
    Cube: cfg(feature = "cube"),
    Fusion: cfg(feature = "cube"),
)]
pub trait TransformerOps: Backend {
    /// `(h, gamma · h / rms(h))` with `h = x + residual`, both `[T, K]` in the dtype of `x`.
    #[fusion(meta = |x, _, _, _| (x.clone(), x.clone()))]
    fn rms_norm(
        x: FloatTensor<Self>,
        #[extension_type] residual: Optional<Self>,
        gamma: FloatTensor<Self>,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// [`rms_norm`](Self::rms_norm) with the second result quantised: `(h, codes, scales)`.
    #[fusion(meta = |x, _, _, _| {
        let (codes, scales) = quantized(x.shape[0], x.shape[1]);
        (x.clone(), codes, scales)
    })]
    fn rms_norm_quantize(
        x: FloatTensor<Self>,
        #[extension_type] residual: Optional<Self>,
        gamma: FloatTensor<Self>,
        epsilon: f32,
    ) -> (FloatTensor<Self>, IntTensor<Self>, FloatTensor<Self>);

    /// `g = f(gate) · up` from `[T, 2K]` (gate first) to `[T, K]`, and `gamma · g / rms(g)` where there
    /// are gains.
    #[fusion(dtype = gate_up, shape = [gate_up[0], gate_up[1] / 2].into())]
    fn gated(
        gate_up: FloatTensor<Self>,
        activation: GatedActivation,
        #[extension_type] gamma: Optional<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self>;

    /// The norm of a [`gated`](Self::gated) unit, quantised: `(codes, scales)`.
    #[fusion(meta = |gate_up, _, _, _| quantized(gate_up.shape[0], gate_up.shape[1] / 2))]
    fn gated_norm_quantize(
        gate_up: FloatTensor<Self>,
        activation: GatedActivation,
        gamma: FloatTensor<Self>,
        epsilon: f32,
    ) -> (IntTensor<Self>, FloatTensor<Self>);

    /// Norms of the query and key heads of `qkv` `[T, (query + 2 · key_value) · size]`; values are
    /// copied. `gains` F32 `[2 · size]`: those of queries, then those of keys.
    #[fusion(dtype = qkv, shape = qkv)]
    fn norm_heads(
        qkv: FloatTensor<Self>,
        gains: FloatTensor<Self>,
        heads: Heads,
        epsilon: f32,
    ) -> FloatTensor<Self>;

    /// Rotates queries and keys of `qkv` `[T, (query + 2 · key_value) · size]` and writes keys and
    /// values in place: `(queries [T, query · size], keys, values)`, the last two being the caches
    /// passed in. A position outside of the cache is not written. `blocks` are those of every row, or any
    /// words where rows are contiguous.
    #[allow(clippy::too_many_arguments)]
    #[fusion(meta = |qkv, _, _, _, _, keys, values, layout| {
        let width = layout.heads.query_width();
        let queries = TensorSpec::new([qkv.shape[0], width].into(), qkv.dtype);
        (queries, keys.clone(), values.clone())
    })]
    fn rotary_append(
        qkv: FloatTensor<Self>,
        table: FloatTensor<Self>,
        rows: IntTensor<Self>,
        positions: IntTensor<Self>,
        blocks: IntTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        layout: CacheLayout,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// Causal grouped-query attention of `q` `[T, query · size]` over the caches: token `t` sees
    /// positions `0..=positions[t]` of row `rows[t]`. `span` says that the tokens are one run.
    #[allow(clippy::too_many_arguments)]
    #[fusion(dtype = q, shape = q)]
    fn attention(
        q: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        rows: IntTensor<Self>,
        positions: IntTensor<Self>,
        blocks: IntTensor<Self>,
        layout: CacheLayout,
        span: Option<Span>,
    ) -> FloatTensor<Self>;

    /// Rows `ids` `[T]` of `table` `[V, K]` as `dtype`; NaN for an id that is not below `V`.
    #[fusion(dtype = *dtype, shape = [ids[0], table[1]].into())]
    fn embedding(table: FloatTensor<Self>, ids: IntTensor<Self>, dtype: DType)
    -> FloatTensor<Self>;

    /// `x · tableᵀ` as F32 `[T, V]`.
    #[fusion(dtype = DType::F32, shape = [x[0], table[0]].into())]
    fn dense_head(x: FloatTensor<Self>, table: FloatTensor<Self>) -> FloatTensor<Self>;

    /// `x · Wᵀ` as F32 `[T, V]` with `x` quantised per token and `W` `[V, K]` of int8 rows.
    #[fusion(dtype = DType::F32, shape = [x[0], table.scales.shape[0]].into())]
    fn int8_head(
        x: FloatTensor<Self>,
        #[extension_type] table: Int8Rows<Self>,
    ) -> FloatTensor<Self>;

    /// Column of the largest logit of each row of F32 `[T, V]`, the lowest if several: U32 `[T]`;
    /// `V` for a row that holds a NaN.
    #[fusion(dtype = DType::U32, shape = [logits[0]].into())]
    fn argmax(logits: FloatTensor<Self>) -> IntTensor<Self>;

    /// Column of each row of F32 `[T, V]`, drawn as [`draw`](super::draw) says: U32 `[T]`.
    #[fusion(dtype = DType::U32, shape = [logits[0]].into())]
    fn draw(
        logits: FloatTensor<Self>,
        draws: IntTensor<Self>,
        positions: IntTensor<Self>,
    ) -> IntTensor<Self>;

    /// Writes `ids` over `tokens` and adds one to `positions`, in place; returns both.
    #[fusion(meta = |tokens, positions, _| (tokens.clone(), positions.clone()))]
    fn advance(
        tokens: IntTensor<Self>,
        positions: IntTensor<Self>,
        ids: IntTensor<Self>,
    ) -> (IntTensor<Self>, IntTensor<Self>);

    /// Writes where the operands of layer `index` of a stack lie to `table`, in place; returns it.
    #[fusion(dtype = table, shape = table)]
    fn record_stack(
        table: IntTensor<Self>,
        #[extension_type] layer: StackLayer<Self>,
        layout: CacheLayout,
        shape: StackShape,
        index: usize,
    ) -> IntTensor<Self>;

    /// All layers of a decoder for one token `x` `[1, K]`: the residual stream, and what the last layer adds.
    /// Writes keys and values of all layers in place; `keys` and `values` are those of any.
    #[allow(clippy::too_many_arguments)]
    #[fusion(meta = |x, _, _, _, _, _, _, _, _, _| (x.clone(), x.clone()))]
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
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Writes `source` over `target` in place and returns it. Both U32 of one length.
    #[fusion(dtype = target, shape = target)]
    fn overwrite(target: IntTensor<Self>, source: IntTensor<Self>) -> IntTensor<Self>;
}
