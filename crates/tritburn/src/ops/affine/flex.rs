//! Flex: the native kernels of `tritburn-cpu`.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::DType;
use burn_flex::FlexTensor;
use half::{bf16, f16};
use tritburn_cpu::{AffineOperands, AffineView, FloatsView};
use tritburn_formats::AffineLayout;

use super::backend::AffineOps;
use super::operand::AffineOperand;
use crate::ops::Bias;
use crate::ops::flex::{checked, contiguous_f32, float_tensor, slice};

impl AffineOps for Flex {
    fn matmul_affine(
        x: FloatTensor<Self>,
        weight: AffineOperand<Self>,
        bias: Bias<Self>,
        layout: AffineLayout,
    ) -> FloatTensor<Self> {
        let dtype = x.dtype();
        let x = contiguous_f32(x);
        let bias = bias.into_option().map(contiguous_f32);
        let (words, scales) = (weight.words.to_contiguous(), weight.scales.to_contiguous());
        let whole = |part: FlexTensor| part.to_contiguous();
        let (mask, order) = (weight.mask.into_option(), weight.order.into_option());
        let (mask, order) = (mask.map(whole), order.map(whole));
        let zeros = weight.zeros.into_option().map(whole);
        let operands = AffineOperands {
            words: slice!(words, u32),
            mask: mask.as_ref().map_or(&[], |mask| slice!(mask, u32)),
            scales: floats(&scales),
            zeros: zeros.as_ref().map(floats),
            order: order.as_ref().map(|order| slice!(order, u32)),
        };
        let weight = checked(AffineView::new(&layout, operands));
        let shape = [x.shape()[0], layout.out_features()];
        let mut y = vec![0.0; shape[0] * shape[1]];
        let bias = bias.as_ref().map(|bias| slice!(bias, f32));
        checked(tritburn_cpu::matmul_affine(
            slice!(x, f32),
            weight,
            bias,
            &mut y,
        ));
        float_tensor(y, shape.into(), dtype)
    }
}

fn floats(tensor: &FlexTensor) -> FloatsView<'_> {
    match tensor.dtype() {
        DType::F32 => FloatsView::F32(slice!(tensor, f32)),
        DType::F16 => FloatsView::F16(slice!(tensor, f16)),
        DType::BF16 => FloatsView::Bf16(slice!(tensor, bf16)),
        other => unreachable!("{other:?} is no type of scales"),
    }
}
