//! CubeCL devices: the kernels of `tritburn-kernels`.

use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use tritburn_formats::AffineLayout;
use tritburn_kernels::product::{self, Strategy};
use tritburn_kernels::{AffineBuffers, AffineWeights};

use super::backend::AffineOps;
use super::operand::AffineOperand;
use crate::ops::Bias;
use crate::ops::cube::{buffer, checked, empty, float_matrix, float_vector};

impl AffineOps for CubeBackend {
    fn matmul_affine(
        x: FloatTensor<Self>,
        weight: AffineOperand<Self>,
        bias: Bias<Self>,
        layout: AffineLayout,
    ) -> FloatTensor<Self> {
        let shape = [x.shape()[0], layout.out_features()];
        let y = empty(&x, shape.into(), x.dtype());
        let client = x.client.clone();
        let words = |part: CubeTensor| buffer(&part);
        let buffers = AffineBuffers {
            words: words(weight.words),
            mask: weight.mask.into_option().map(words),
            scales: float_vector(weight.scales),
            zeros: weight.zeros.into_option().map(float_vector),
            order: weight.order.into_option().map(words),
        };
        let weights = checked(AffineWeights::new(layout, buffers));
        let bias = bias.into_option().map(float_vector);
        checked(product::affine(
            &client,
            &float_matrix(x),
            &weights,
            bias.as_ref(),
            &float_matrix(y.clone()),
            Strategy::default(),
        ));
        y
    }
}
