//! CubeCL devices: the kernels of `tritburn-kernels` on Burn's tensors.
//!
//! Shapes and dtypes are checked by [`super::api`] before they get here, so a refusal by the kernel
//! crate is a bug and panics with its message.

use burn::backend::TensorMetadata;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::{into_contiguous, untile};
use burn_cubecl::ops::numeric::empty_device_dtype;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeBackend, cubecl::client::Client};
use tritburn_formats::PackedLayout;
use tritburn_formats::layout::activation_words_per_row;
use tritburn_kernels::product::{self, Strategy};
use tritburn_kernels::{
    Buffer, FloatMatrix, FloatType, FloatVector, FragmentOrder, KernelError, PackedWeights,
    QuantizedActivations, backward, quantize, unpack,
};

use super::backend::TernaryOps;
use super::bias::Bias;
use super::fragments;
use super::operand::WeightOperand;
use crate::precision::InputPrecision;

impl TernaryOps for CubeBackend {
    fn quantize_weight(
        weight: FloatTensor<Self>,
        layout: PackedLayout,
    ) -> (IntTensor<Self>, FloatTensor<Self>) {
        let codes = empty(&weight, [layout.word_count()].into(), DType::U32);
        let scales = empty(&weight, [layout.scale_count()].into(), DType::F32);
        let client = weight.client.clone();
        let packed = packed_weights(&codes, &scales, layout);
        checked(quantize::weight::launch(
            &client,
            &float_matrix(weight),
            &packed,
        ));
        (codes, scales)
    }

    fn quantize_activations(x: FloatTensor<Self>) -> (IntTensor<Self>, FloatTensor<Self>) {
        let [rows, cols] = x.shape().dims();
        let codes = empty(
            &x,
            [rows * activation_words_per_row(cols)].into(),
            DType::U32,
        );
        let scales = empty(&x, [rows].into(), DType::F32);
        let client = x.client.clone();
        let quantized = activations(&codes, &scales, cols);
        checked(quantize::activation::launch(
            &client,
            &float_matrix(x),
            &quantized,
        ));
        (codes, scales)
    }

    fn unpack_weight(
        codes: IntTensor<Self>,
        scales: FloatTensor<Self>,
        layout: PackedLayout,
        dtype: DType,
    ) -> FloatTensor<Self> {
        let shape = [layout.out_features(), layout.in_features()];
        let weight = empty(&codes, shape.into(), dtype);
        let client = codes.client.clone();
        let packed = packed_weights(&codes, &scales, layout);
        checked(unpack::launch(
            &client,
            &packed,
            &float_matrix(weight.clone()),
        ));
        weight
    }

    fn prepack(
        codes: IntTensor<Self>,
        scales: FloatTensor<Self>,
        layout: PackedLayout,
        precision: InputPrecision,
    ) -> (IntTensor<Self>, FloatTensor<Self>) {
        let order = fragments::order(precision);
        fragments::prepack(&codes, &scales, &layout, order).unwrap_or((codes, scales))
    }

    fn matmul_w2a8(
        x_codes: IntTensor<Self>,
        x_scales: FloatTensor<Self>,
        weight: WeightOperand<Self>,
        bias: Bias<Self>,
        layout: PackedLayout,
        dtype: DType,
    ) -> FloatTensor<Self> {
        let shape = [x_scales.shape()[0], layout.out_features()];
        let y = empty(&x_codes, shape.into(), dtype);
        let client = x_codes.client.clone();
        let x = activations(&x_codes, &x_scales, layout.in_features());
        let bias = bias.into_option().map(float_vector);
        let out = float_matrix(y.clone());
        fragments::multiply(&client, weight, layout, FragmentOrder::Int8, |weights| {
            let strategy = Strategy::default();
            product::w2a8(&client, &x, weights, bias.as_ref(), &out, strategy)
        });
        y
    }

    fn matmul_quantizing(
        x: FloatTensor<Self>,
        weight: WeightOperand<Self>,
        bias: Bias<Self>,
        layout: PackedLayout,
    ) -> FloatTensor<Self> {
        let shape = [x.shape()[0], layout.out_features()];
        let y = empty(&x, shape.into(), x.dtype());
        let client = x.client.clone();
        let bias = bias.into_option().map(float_vector);
        let (x, out) = (float_matrix(x), float_matrix(y.clone()));
        fragments::multiply(&client, weight, layout, FragmentOrder::Int8, |weights| {
            let strategy = Strategy::default();
            product::w2a8_quantizing(&client, &x, weights, bias.as_ref(), &out, strategy)
        });
        y
    }

    fn matmul_w2a16(
        x: FloatTensor<Self>,
        weight: WeightOperand<Self>,
        bias: Bias<Self>,
        layout: PackedLayout,
    ) -> FloatTensor<Self> {
        let shape = [x.shape()[0], layout.out_features()];
        let y = empty(&x, shape.into(), x.dtype());
        let client = x.client.clone();
        let x = match fragments::multiplies(&client, &layout, FragmentOrder::Half) {
            true => fragments::whole_lines(x),
            false => x,
        };
        let (x, out) = (float_matrix(x), float_matrix(y.clone()));
        let bias = bias.into_option().map(float_vector);
        fragments::multiply(&client, weight, layout, FragmentOrder::Half, |weights| {
            let strategy = Strategy::default();
            product::w2a16(&client, &x, weights, bias.as_ref(), &out, strategy)
        });
        y
    }

    fn grad_input(
        dy: FloatTensor<Self>,
        codes: IntTensor<Self>,
        scales: FloatTensor<Self>,
        layout: PackedLayout,
    ) -> FloatTensor<Self> {
        let dx = empty(
            &dy,
            [dy.shape()[0], layout.in_features()].into(),
            dy.dtype(),
        );
        let client = dy.client.clone();
        let packed = packed_weights(&codes, &scales, layout);
        checked(backward::input(
            &client,
            &float_matrix(dy),
            &packed,
            &float_matrix(dx.clone()),
        ));
        dx
    }

    fn grad_weight(
        dy: FloatTensor<Self>,
        x_codes: IntTensor<Self>,
        x_scales: FloatTensor<Self>,
        layout: PackedLayout,
        dtype: DType,
    ) -> FloatTensor<Self> {
        let shape = [layout.out_features(), layout.in_features()];
        let dw = empty(&dy, shape.into(), dtype);
        let client = dy.client.clone();
        let x = activations(&x_codes, &x_scales, layout.in_features());
        checked(backward::weight(
            &client,
            &float_matrix(dy),
            &x,
            &float_matrix(dw.clone()),
        ));
        dw
    }
}

/// An uninitialised tensor on the device of `like`.
pub(crate) fn empty(like: &CubeTensor, shape: Shape, dtype: DType) -> CubeTensor {
    let client: Client = like.client.clone();
    empty_device_dtype(client, like.device.clone(), shape, dtype)
}

pub(super) fn packed_weights(
    codes: &CubeTensor,
    scales: &CubeTensor,
    layout: PackedLayout,
) -> PackedWeights {
    checked(PackedWeights::new(layout, buffer(codes), buffer(scales)))
}

pub(crate) fn activations(
    codes: &CubeTensor,
    scales: &CubeTensor,
    cols: usize,
) -> QuantizedActivations {
    let rows = scales.shape()[0];
    checked(QuantizedActivations::new(
        rows,
        cols,
        buffer(codes),
        buffer(scales),
    ))
}

/// A rank-1 tensor's elements, made contiguous if it is a strided view.
pub(crate) fn buffer(tensor: &CubeTensor) -> Buffer {
    let tensor = into_contiguous(tensor.clone());
    let len = tensor.shape().num_elements();
    Buffer::new(tensor.handle, len)
}

/// A matrix as the kernels read it: rows may be pitched, columns may not.
pub(crate) fn float_matrix(tensor: CubeTensor) -> FloatMatrix {
    let tensor = untile(tensor);
    let tensor = match **tensor.meta.strides() {
        [rows, 1] if rows >= tensor.meta.shape()[1] => tensor,
        _ => into_contiguous(tensor),
    };
    let (shape, strides) = (tensor.meta.shape(), tensor.meta.strides());
    let (shape, strides) = ([shape[0], shape[1]], [strides[0], strides[1]]);
    let dtype = float_type(tensor.dtype);
    checked(FloatMatrix::new(tensor.handle, shape, strides, dtype))
}

pub(crate) fn float_vector(tensor: CubeTensor) -> FloatVector {
    let tensor = into_contiguous(tensor);
    let (len, dtype) = (tensor.shape().num_elements(), float_type(tensor.dtype));
    checked(FloatVector::new(tensor.handle, len, dtype))
}

pub(crate) fn float_type(dtype: DType) -> FloatType {
    match dtype {
        DType::F32 => FloatType::F32,
        DType::F16 => FloatType::F16,
        DType::BF16 => FloatType::BF16,
        other => unreachable!("{other:?} is refused by the checked functions"),
    }
}

pub(crate) fn checked<T>(result: Result<T, KernelError>) -> T {
    result.unwrap_or_else(|error| panic!("operands were checked before dispatch: {error}"))
}
