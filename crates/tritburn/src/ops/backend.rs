//! The backend extension trait.

// With no backend compiled in, the generated dispatch has nothing to pass the arguments to.
#![cfg_attr(
    not(any(feature = "flex", feature = "cube")),
    allow(unused_imports, unused_variables)
)]

#[cfg(feature = "cube")]
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, backend_extension};
use burn::tensor::DType;
use tritburn_formats::PackedLayout;
#[cfg(feature = "cube")]
use tritburn_formats::layout::activation_words_per_row;

use super::bias::Bias;
#[cfg(feature = "cube")]
use super::fragments;
use super::operand::WeightOperand;
use crate::precision::InputPrecision;

/// Quantised linear operations of a backend.
///
/// Shapes: `M` tokens, `K` = `layout.in_features()`, `N` = `layout.out_features()`,
/// `Kw = ceil(K / 16)`. Packed codes are U32 `[N·Kw]` in the canonical layout, scales F32
/// `[layout.scale_count()]`. Quantised activations are U32 `[M·4·Kw]` (four int8 a word,
/// zero-padded rows) with per-token scales F32 `[M]`.
///
/// Callers check shapes, dtypes and devices first: use the functions of [`crate::ops`].
///
/// Fusion never compares the shapes and dtypes announced in `#[fusion(..)]` with what a backend
/// returns; `tests/suite/fusion.rs` does.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    Cube: cfg(feature = "cube"),
    Fusion: cfg(feature = "cube"),
    Autodiff: cfg(any(feature = "flex", feature = "cube")),
)]
pub trait TernaryOps: Backend {
    /// Quantises and packs weights `[N, K]` of any float dtype: `(codes, scales)`.
    #[fusion(meta = |_, layout| (
        vector(layout.word_count(), DType::U32),
        vector(layout.scale_count(), DType::F32),
    ))]
    fn quantize_weight(
        weight: FloatTensor<Self>,
        layout: PackedLayout,
    ) -> (IntTensor<Self>, FloatTensor<Self>);

    /// Quantises activations `[M, K]` per token: `(codes, scales)`.
    #[fusion(meta = |x| quantized(x.shape[0], x.shape[1]))]
    fn quantize_activations(x: FloatTensor<Self>) -> (IntTensor<Self>, FloatTensor<Self>);

    /// The real weights `[N, K]` that codes and scales stand for.
    #[fusion(dtype = *dtype, shape = [layout.out_features(), layout.in_features()].into())]
    fn unpack_weight(
        codes: IntTensor<Self>,
        scales: FloatTensor<Self>,
        layout: PackedLayout,
        dtype: DType,
    ) -> FloatTensor<Self>;

    /// Packed weights in the order of the device's tensor-core kernels, for products with inputs of
    /// `precision`: `(words, row_scales)`, U32 in fragment order and F32 `[N]`. A device without
    /// such kernels may return codes and scales as they are.
    #[fusion(meta = |_, _, layout, precision| {
        let (words, row_scales) = fragments::lengths(layout, *precision);
        (vector(words, DType::U32), vector(row_scales, DType::F32))
    })]
    fn prepack(
        codes: IntTensor<Self>,
        scales: FloatTensor<Self>,
        layout: PackedLayout,
        precision: InputPrecision,
    ) -> (IntTensor<Self>, FloatTensor<Self>);

    /// W2A8 product of quantised activations with packed weights: `[M, N]` of `dtype`, exact in
    /// i32 before the rescale.
    #[fusion(dtype = *dtype, shape = [x_scales[0], layout.out_features()].into())]
    fn matmul_w2a8(
        x_codes: IntTensor<Self>,
        x_scales: FloatTensor<Self>,
        #[extension_type] weight: WeightOperand<Self>,
        #[extension_type] bias: Bias<Self>,
        layout: PackedLayout,
        dtype: DType,
    ) -> FloatTensor<Self>;

    /// W2A8 product of float activations `[M, K]` that are quantised on the way: the numbers of
    /// [`quantize_activations`](Self::quantize_activations) and [`matmul_w2a8`](Self::matmul_w2a8),
    /// `[M, N]` in the dtype of `x`.
    #[fusion(dtype = x, shape = [x[0], layout.out_features()].into())]
    fn matmul_quantizing(
        x: FloatTensor<Self>,
        #[extension_type] weight: WeightOperand<Self>,
        #[extension_type] bias: Bias<Self>,
        layout: PackedLayout,
    ) -> FloatTensor<Self>;

    /// W2A16 product of float activations `[M, K]` with packed weights: `[M, N]` in the dtype of
    /// `x`, accumulated in f32.
    #[fusion(dtype = x, shape = [x[0], layout.out_features()].into())]
    fn matmul_w2a16(
        x: FloatTensor<Self>,
        #[extension_type] weight: WeightOperand<Self>,
        #[extension_type] bias: Bias<Self>,
        layout: PackedLayout,
    ) -> FloatTensor<Self>;

    /// Gradient of the input, `dY · Ŵ`: `[M, N]` to `[M, K]`.
    #[fusion(dtype = dy, shape = [dy[0], layout.in_features()].into())]
    fn grad_input(
        dy: FloatTensor<Self>,
        codes: IntTensor<Self>,
        scales: FloatTensor<Self>,
        layout: PackedLayout,
    ) -> FloatTensor<Self>;

    /// Gradient of the weight, `dYᵀ · X̂`, from quantised activations: `[N, K]` of `dtype`.
    #[fusion(dtype = *dtype, shape = [layout.out_features(), layout.in_features()].into())]
    fn grad_weight(
        dy: FloatTensor<Self>,
        x_codes: IntTensor<Self>,
        x_scales: FloatTensor<Self>,
        layout: PackedLayout,
        dtype: DType,
    ) -> FloatTensor<Self>;

    /// Inference with packed weights: quantises `x` `[M, K]` if its `precision` is int8,
    /// multiplies, rescales. Differentiable in `x` and the bias.
    #[fusion(default)]
    fn packed_linear(
        x: FloatTensor<Self>,
        #[extension_type] weight: WeightOperand<Self>,
        #[extension_type] bias: Bias<Self>,
        layout: PackedLayout,
        precision: InputPrecision,
    ) -> FloatTensor<Self> {
        match precision {
            InputPrecision::Int8 => Self::matmul_quantizing(x, weight, bias, layout),
            InputPrecision::Float => Self::matmul_w2a16(x, weight, bias, layout),
        }
    }

    /// Training forward: quantises latent weights `[N, K]`, then [`packed_linear`](Self::packed_linear).
    /// Gradients pass both quantisers straight through.
    #[fusion(default)]
    fn bit_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] bias: Bias<Self>,
        layout: PackedLayout,
        precision: InputPrecision,
    ) -> FloatTensor<Self> {
        let (codes, scales) = Self::quantize_weight(weight, layout.clone());
        let weight = WeightOperand::Canonical { codes, scales };
        Self::packed_linear(x, weight, bias, layout, precision)
    }
}

/// What Fusion announces for a tensor of rank 1.
#[cfg(feature = "cube")]
fn vector(len: usize, dtype: DType) -> TensorSpec {
    TensorSpec::new([len].into(), dtype)
}

/// What Fusion announces for the codes and scales of quantised activations.
#[cfg(feature = "cube")]
pub(crate) fn quantized(tokens: usize, features: usize) -> (TensorSpec, TensorSpec) {
    let words = tokens * activation_words_per_row(features);
    (vector(words, DType::U32), vector(tokens, DType::F32))
}

/// `dYᵀ · X` for float activations: `[M, N]`, `[M, K]` to `[N, K]`.
#[cfg(any(feature = "flex", feature = "cube"))]
pub(super) fn grad_weight_float<B: Backend>(
    dy: FloatTensor<B>,
    x: FloatTensor<B>,
) -> FloatTensor<B> {
    B::float_matmul(<B as FloatTensorOps<B>>::float_transpose(dy), x)
}
