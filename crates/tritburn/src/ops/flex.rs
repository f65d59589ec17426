//! Flex: Burn's CPU backend, on the native kernels of `tritburn-cpu`.
//!
//! Buffers are checked by [`super::api`] before they get here, so a refusal by the CPU crate is a
//! bug and panics with its message.

use std::fmt::Display;

use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{DType, FloatDType, Shape, TensorData};
use burn_flex::FlexTensor;
use tritburn_cpu::{QuantizedView, WeightView};
use tritburn_formats::layout::activation_words_per_row;
use tritburn_formats::quantize::activation::dequantize_rows;
use tritburn_formats::{PackedLayout, quantize};

use super::backend::TernaryOps;
use super::bias::Bias;
use super::operand::WeightOperand;
use crate::precision::InputPrecision;

/// A contiguous tensor of element type `E`, borrowed as a slice.
macro_rules! slice {
    ($tensor:expr, $type:ty) => {
        $tensor
            .as_slice::<$type>()
            .expect("a contiguous tensor of the checked dtype")
    };
}
pub(crate) use slice;

pub(crate) fn contiguous_f32(tensor: FlexTensor) -> FlexTensor {
    let tensor = match tensor.dtype() {
        DType::F32 => tensor,
        _ => Flex::float_cast(tensor, FloatDType::F32),
    };
    tensor.to_contiguous()
}

pub(crate) fn float_tensor(values: Vec<f32>, shape: Shape, dtype: DType) -> FlexTensor {
    let tensor = FlexTensor::from_data(TensorData::new(values, shape));
    match dtype {
        DType::F32 => tensor,
        _ => Flex::float_cast(tensor, dtype.into()),
    }
}

pub(crate) fn word_tensor(words: Vec<u32>) -> FlexTensor {
    let len = words.len();
    FlexTensor::from_data(TensorData::new(words, [len]))
}

pub(crate) fn checked<T, E: Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("operands were checked before dispatch: {error}"))
}

impl TernaryOps for Flex {
    fn quantize_weight(
        weight: FloatTensor<Self>,
        layout: PackedLayout,
    ) -> (IntTensor<Self>, FloatTensor<Self>) {
        let weight = contiguous_f32(weight);
        let matrix = checked(quantize::quantize_weights(slice!(weight, f32), &layout));
        let (_, words, scales) = matrix.into_parts();
        let count = scales.len();
        (
            word_tensor(words),
            float_tensor(scales, [count].into(), DType::F32),
        )
    }

    fn quantize_activations(x: FloatTensor<Self>) -> (IntTensor<Self>, FloatTensor<Self>) {
        let x = contiguous_f32(x);
        let [rows, cols] = x.shape().dims();
        let mut codes = vec![0; rows * activation_words_per_row(cols)];
        let mut scales = vec![0.0; rows];
        checked(tritburn_cpu::quantize_activations(
            slice!(x, f32),
            cols,
            &mut codes,
            &mut scales,
        ));
        (
            word_tensor(codes),
            float_tensor(scales, [rows].into(), DType::F32),
        )
    }

    fn unpack_weight(
        codes: IntTensor<Self>,
        scales: FloatTensor<Self>,
        layout: PackedLayout,
        dtype: DType,
    ) -> FloatTensor<Self> {
        let (codes, scales) = (codes.to_contiguous(), scales.to_contiguous());
        let weight = checked(WeightView::new(
            &layout,
            slice!(codes, u32),
            slice!(scales, f32),
        ));
        let shape = [layout.out_features(), layout.in_features()];
        let mut values = vec![0.0; shape[0] * shape[1]];
        checked(tritburn_cpu::dequantize(weight, &mut values));
        float_tensor(values, shape.into(), dtype)
    }

    /// The CPU kernels read the canonical layout.
    fn prepack(
        codes: IntTensor<Self>,
        scales: FloatTensor<Self>,
        _layout: PackedLayout,
        _precision: InputPrecision,
    ) -> (IntTensor<Self>, FloatTensor<Self>) {
        (codes, scales)
    }

    fn matmul_w2a8(
        x_codes: IntTensor<Self>,
        x_scales: FloatTensor<Self>,
        weight: WeightOperand<Self>,
        bias: Bias<Self>,
        layout: PackedLayout,
        dtype: DType,
    ) -> FloatTensor<Self> {
        let (x_codes, x_scales) = (x_codes.to_contiguous(), x_scales.to_contiguous());
        let (codes, scales) = weight.into_canonical();
        let (codes, scales) = (codes.to_contiguous(), scales.to_contiguous());
        let bias = bias.into_option().map(contiguous_f32);
        let x = checked(QuantizedView::new(
            slice!(x_codes, u32),
            slice!(x_scales, f32),
            layout.in_features(),
        ));
        let weight = checked(WeightView::new(
            &layout,
            slice!(codes, u32),
            slice!(scales, f32),
        ));
        let shape = [x.rows(), layout.out_features()];
        let mut y = vec![0.0; shape[0] * shape[1]];
        let bias = bias.as_ref().map(|bias| slice!(bias, f32));
        checked(tritburn_cpu::matmul_w2a8(x, weight, bias, &mut y));
        float_tensor(y, shape.into(), dtype)
    }

    fn matmul_quantizing(
        x: FloatTensor<Self>,
        weight: WeightOperand<Self>,
        bias: Bias<Self>,
        layout: PackedLayout,
    ) -> FloatTensor<Self> {
        let dtype = x.dtype();
        let (x_codes, x_scales) = Self::quantize_activations(x);
        Self::matmul_w2a8(x_codes, x_scales, weight, bias, layout, dtype)
    }

    fn matmul_w2a16(
        x: FloatTensor<Self>,
        weight: WeightOperand<Self>,
        bias: Bias<Self>,
        layout: PackedLayout,
    ) -> FloatTensor<Self> {
        let dtype = x.dtype();
        let x = contiguous_f32(x);
        let (codes, scales) = weight.into_canonical();
        let (codes, scales) = (codes.to_contiguous(), scales.to_contiguous());
        let bias = bias.into_option().map(contiguous_f32);
        let weight = checked(WeightView::new(
            &layout,
            slice!(codes, u32),
            slice!(scales, f32),
        ));
        let shape = [x.shape()[0], layout.out_features()];
        let mut y = vec![0.0; shape[0] * shape[1]];
        let bias = bias.as_ref().map(|bias| slice!(bias, f32));
        checked(tritburn_cpu::matmul_w2a16(
            slice!(x, f32),
            weight,
            bias,
            &mut y,
        ));
        float_tensor(y, shape.into(), dtype)
    }

    /// Unpacks Ŵ for the duration of the product: Flex's own float matmul then runs at full speed.
    fn grad_input(
        dy: FloatTensor<Self>,
        codes: IntTensor<Self>,
        scales: FloatTensor<Self>,
        layout: PackedLayout,
    ) -> FloatTensor<Self> {
        let dtype = dy.dtype();
        Self::float_matmul(dy, Self::unpack_weight(codes, scales, layout, dtype))
    }

    /// Like [`grad_input`](Self::grad_input), with X̂ in place of Ŵ.
    fn grad_weight(
        dy: FloatTensor<Self>,
        x_codes: IntTensor<Self>,
        x_scales: FloatTensor<Self>,
        layout: PackedLayout,
        dtype: DType,
    ) -> FloatTensor<Self> {
        let (x_codes, x_scales) = (x_codes.to_contiguous(), x_scales.to_contiguous());
        let cols = layout.in_features();
        let x = checked(QuantizedView::new(
            slice!(x_codes, u32),
            slice!(x_scales, f32),
            cols,
        ));
        let values = dequantize_rows(x.codes(), x.scales(), cols);
        let x = float_tensor(values, [x.rows(), cols].into(), dy.dtype());
        let grad = Self::float_matmul(Self::float_transpose(dy), x);
        match grad.dtype() == dtype {
            true => grad,
            false => Self::float_cast(grad, dtype.into()),
        }
    }
}
