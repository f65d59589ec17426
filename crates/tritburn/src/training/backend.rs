//! The backend extension trait.

// With no backend compiled in, the generated dispatch has nothing to pass the arguments to.
#![cfg_attr(
    not(any(feature = "flex", feature = "cube")),
    allow(unused_imports, unused_variables)
)]

#[cfg(feature = "cube")]
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::ops::ActivationOps;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, backend_extension};
use burn::tensor::DType;
use tritburn_formats::PackedLayout;
#[cfg(feature = "cube")]
use tritburn_formats::layout::activation_words_per_row;

use super::operand::{
    AdamWStep, Depth, LossGradients, LossOptions, Moments, Optional, Prologue, Sequences,
    WantedGradients,
};
#[cfg(feature = "cube")]
use super::operand::{LossGradientsMetadata, OptionalMetadata};
use crate::ops::{Bias, TernaryOps, WeightOperand};

/// Fused operations of a decoder that trains.
///
/// Shapes: `T` tokens, `K` features, `V` entries of the vocabulary. Quantised activations are those
/// of [`TernaryOps`]. All arithmetic is f32, whatever the dtype of the tensors.
///
/// [`prologue`](Self::prologue), [`prologue_bit_linear`](Self::prologue_bit_linear),
/// [`prologue_packed_linear`](Self::prologue_packed_linear), [`dense_linear`](Self::dense_linear),
/// [`exact_gelu`](Self::exact_gelu), [`rotary_attention`](Self::rotary_attention),
/// [`token_embedding`](Self::token_embedding) and
/// [`linear_cross_entropy`](Self::linear_cross_entropy) have gradients; the others are what these
/// are made of.
///
/// Callers check shapes, dtypes and devices first: use the functions of [`crate::training`](super).
#[backend_extension(
    Flex: cfg(feature = "flex"),
    Cube: cfg(feature = "cube"),
    Fusion: cfg(feature = "cube"),
    Autodiff: cfg(any(feature = "flex", feature = "cube")),
)]
pub trait TrainingOps: TernaryOps {
    /// The prologue of `x` `[T, K]` (`[T, 2K]` for a gate): `[T, K]` in the dtype of `x`.
    #[fusion(meta = |x, prologue| {
        let columns = prologue.features(x.shape[1]);
        TensorSpec::new([x.shape[0], columns].into(), x.dtype)
    })]
    fn prologue(
        x: FloatTensor<Self>,
        #[extension_type] prologue: Prologue<Self>,
    ) -> FloatTensor<Self>;

    /// [`prologue`](Self::prologue), quantised straight from f32: `(codes, scales)`.
    #[fusion(meta = |x, prologue| {
        let words = activation_words_per_row(prologue.features(x.shape[1]));
        (
            TensorSpec::new([x.shape[0] * words].into(), DType::U32),
            TensorSpec::new([x.shape[0]].into(), DType::F32),
        )
    })]
    fn prologue_quantize(
        x: FloatTensor<Self>,
        #[extension_type] prologue: Prologue<Self>,
    ) -> (IntTensor<Self>, FloatTensor<Self>);

    /// Gradients of [`prologue`](Self::prologue) from `dy` `[T, K]`: that of `x`, in its shape and
    /// dtype, and that of the gains, F32 `[K]`, if there are any.
    #[fusion(meta = |x, _dy, prologue| (x.clone(), prologue.gamma_gradient()))]
    fn prologue_backward(
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        #[extension_type] prologue: Prologue<Self>,
    ) -> (FloatTensor<Self>, Optional<Self>);

    /// `x · Φ(x)` of every element, in the dtype of `x`: Burn's operation, which Fusion joins with its
    /// neighbours, where the backend has none of its own.
    #[fusion(default)]
    fn exact_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        <Self as ActivationOps<Self>>::gelu(x)
    }

    /// The gradient of [`exact_gelu`](Self::exact_gelu) from `dy`.
    #[fusion(default)]
    fn exact_gelu_backward(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        <Self as ActivationOps<Self>>::gelu_backward(x, dy)
    }

    /// Quantises the prologue of `x` and latent weights `[N, K]`, multiplies, rescales: `[T, N]` in
    /// the dtype of `x`. Gradients pass both quantisers straight through.
    #[fusion(default)]
    fn prologue_bit_linear(
        x: FloatTensor<Self>,
        #[extension_type] prologue: Prologue<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] bias: Bias<Self>,
        layout: PackedLayout,
    ) -> FloatTensor<Self> {
        let (codes, scales) = Self::quantize_weight(weight, layout.clone());
        let weight = WeightOperand::Canonical { codes, scales };
        Self::prologue_packed_linear(x, prologue, weight, bias, layout)
    }

    /// [`prologue_bit_linear`](Self::prologue_bit_linear) with packed weights, which have no
    /// gradient.
    #[fusion(default)]
    fn prologue_packed_linear(
        x: FloatTensor<Self>,
        #[extension_type] prologue: Prologue<Self>,
        #[extension_type] weight: WeightOperand<Self>,
        #[extension_type] bias: Bias<Self>,
        layout: PackedLayout,
    ) -> FloatTensor<Self> {
        use burn::backend::TensorMetadata;

        let dtype = x.dtype();
        let (codes, scales) = Self::prologue_quantize(x, prologue);
        Self::matmul_w2a8(codes, scales, weight, bias, layout, dtype)
    }

    /// `x · weightᵀ` of `x` `[T, K]` and `weight` `[N, K]`, which is rounded to the dtype of `x`:
    /// `[T, N]` in that dtype.
    #[fusion(default)]
    fn dense_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        use burn::backend::TensorMetadata;

        let dtype = x.dtype();
        let weight = in_dtype::<Self>(weight, dtype);
        Self::dense_product(x, weight, [Depth::Columns; 2], dtype)
    }

    /// `left · rightᵀ` in `dtype`, with f32 sums. Both operands have one dtype; each lies as its
    /// [`Depth`] says.
    #[fusion(meta = |left, right, depths, dtype| {
        let rows = |shape: &burn::tensor::Shape, depth| match depth {
            Depth::Columns => shape[0],
            Depth::Rows => shape[1],
        };
        let shape = [rows(&left.shape, depths[0]), rows(&right.shape, depths[1])];
        TensorSpec::new(shape.into(), *dtype)
    })]
    fn dense_product(
        left: FloatTensor<Self>,
        right: FloatTensor<Self>,
        depths: [Depth; 2],
        dtype: DType,
    ) -> FloatTensor<Self>;

    /// Attention inside of `sequences`: `qkv` `[T, heads.fused_width()]`, rotated by its positions if
    /// there is a `table`, to `[T, heads.query_width()]`.
    #[fusion(default)]
    fn rotary_attention(
        qkv: FloatTensor<Self>,
        #[extension_type] table: Optional<Self>,
        sequences: Sequences,
    ) -> FloatTensor<Self> {
        Self::attention_forward(qkv, table, sequences).0
    }

    /// [`rotary_attention`](Self::rotary_attention) with what its backward pass reads: the output,
    /// the rotated `qkv`, and F32 `[batch · query heads · length]` that say what a query's scores
    /// add up to.
    #[fusion(meta = |qkv, _table, sequences| {
        let (tokens, heads) = (qkv.shape[0], sequences.heads);
        (
            TensorSpec::new([tokens, heads.query_width()].into(), qkv.dtype),
            qkv.clone(),
            TensorSpec::new([tokens * heads.query].into(), DType::F32),
        )
    })]
    fn attention_forward(
        qkv: FloatTensor<Self>,
        #[extension_type] table: Optional<Self>,
        sequences: Sequences,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// The gradient of the `qkv` that went into
    /// [`attention_forward`](Self::attention_forward), from what it returned.
    #[fusion(meta = |rotated, _out, _statistics, _d_out, _table, _sequences| rotated.clone())]
    fn attention_backward(
        rotated: FloatTensor<Self>,
        out: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        d_out: FloatTensor<Self>,
        #[extension_type] table: Optional<Self>,
        sequences: Sequences,
    ) -> FloatTensor<Self>;

    /// Rows `ids` `[T]` of `table` `[V, K]` as `dtype`; NaN for an id that is not below `V`.
    #[fusion(meta = |table, ids, dtype| {
        TensorSpec::new([ids.shape[0], table.shape[1]].into(), *dtype)
    })]
    fn token_embedding(
        table: FloatTensor<Self>,
        ids: IntTensor<Self>,
        dtype: DType,
    ) -> FloatTensor<Self>;

    /// The gradient of the table, F32 `[vocabulary, K]`, from `dy` `[T, K]`.
    #[fusion(meta = |dy, _ids, vocabulary| {
        TensorSpec::new([*vocabulary, dy.shape[1]].into(), DType::F32)
    })]
    fn table_gradient(
        dy: FloatTensor<Self>,
        ids: IntTensor<Self>,
        vocabulary: usize,
    ) -> FloatTensor<Self>;

    /// Losses of `targets` `[T]` under the logits `x · tableᵀ` of `x` `[T, K]` and `table`
    /// `[V, K]`, and the weights of the targets: both F32 `[T]`. `label_weights` is F32 `[V]`.
    #[fusion(meta = |_x, _table, targets, _labels, _options| {
        let tokens = TensorSpec::new([targets.shape[0]].into(), DType::F32);
        (tokens.clone(), tokens)
    })]
    fn token_losses(
        x: FloatTensor<Self>,
        table: FloatTensor<Self>,
        targets: IntTensor<Self>,
        #[extension_type] label_weights: Optional<Self>,
        options: LossOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// [`token_losses`](Self::token_losses) with the wanted gradients of their sum.
    #[fusion(meta = |x, table, targets, _labels, _options, wanted| {
        let tokens = TensorSpec::new([targets.shape[0]].into(), DType::F32);
        let gradient = |wanted, shape, dtype| match wanted {
            true => OptionalMetadata::Present(TensorSpec::new(shape, dtype)),
            false => OptionalMetadata::Absent,
        };
        LossGradientsMetadata {
            losses: tokens.clone(),
            weights: tokens,
            d_input: gradient(wanted.input, x.shape.clone(), x.dtype),
            d_table: gradient(wanted.table, table.shape.clone(), DType::F32),
        }
    })]
    fn loss_gradients(
        x: FloatTensor<Self>,
        table: FloatTensor<Self>,
        targets: IntTensor<Self>,
        #[extension_type] label_weights: Optional<Self>,
        options: LossOptions,
        wanted: WantedGradients,
    ) -> LossGradients<Self>;

    /// The weighted mean of [`token_losses`](Self::token_losses), F32 `[1]`; 0 where nothing counts.
    #[fusion(default)]
    fn linear_cross_entropy(
        x: FloatTensor<Self>,
        table: FloatTensor<Self>,
        targets: IntTensor<Self>,
        #[extension_type] label_weights: Optional<Self>,
        options: LossOptions,
    ) -> FloatTensor<Self> {
        let (losses, weights) = Self::token_losses(x, table, targets, label_weights, options);
        Self::mean_loss(losses, weights).0
    }

    /// `Σ losses / Σ weights` and `1 / Σ weights` of F32 `[T]`, both F32 `[1]`. The second is finite
    /// where all weights are zero: losses of zero times it are zero.
    #[fusion(meta = |losses, _weights| {
        let one = TensorSpec::new([1].into(), losses.dtype);
        (one.clone(), one)
    })]
    fn mean_loss(
        losses: FloatTensor<Self>,
        weights: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// A step of AdamW: the parameter, of any shape, and its new moments. The gradient is multiplied
    /// by `factor`, F32 `[1]`, if there is one. On CubeCL devices all three are written in place.
    #[fusion(meta = |parameter, _gradient, _factor, _moments, _step| {
        (parameter.clone(), parameter.clone(), parameter.clone())
    })]
    fn adamw(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        #[extension_type] factor: Optional<Self>,
        #[extension_type] moments: Moments<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// Writes the sum of the squares of `x`, of any shape and float dtype, to `sums[index]` of F32
    /// `[n]`, in place on CubeCL devices; returns `sums`.
    #[fusion(meta = |sums, _x, _index| sums.clone())]
    fn write_square_sum(
        sums: FloatTensor<Self>,
        x: FloatTensor<Self>,
        index: usize,
    ) -> FloatTensor<Self>;

    /// From sums of squares, F32 `[n]`: the root of their sum, and what clips it to `max_norm`,
    /// `min(1, max_norm / (root + 1e-6))`, both F32 `[1]`.
    #[fusion(meta = |sums, _max_norm| {
        let one = TensorSpec::new([1].into(), sums.dtype);
        (one.clone(), one)
    })]
    fn clip_factor(
        sums: FloatTensor<Self>,
        max_norm: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

/// `tensor` as `dtype`; itself where it has that.
pub(super) fn in_dtype<B: Backend>(tensor: FloatTensor<B>, dtype: DType) -> FloatTensor<B> {
    use burn::backend::TensorMetadata;

    match tensor.dtype() == dtype {
        true => tensor,
        false => B::float_cast(tensor, dtype.into()),
    }
}
