//! Checked tensor functions: shapes, dtypes and devices are verified here, once.

use burn::backend::Dispatch;
use burn::tensor::{DType, Device, Int, Tensor};
use tritburn_formats::PackedLayout;

use super::backend::TernaryOps;
use super::bias::Bias;
use super::device::{check_ready, keeps_dtype, rounds_to_bf16};
use super::operand::WeightOperand;
use super::prepack::PrepackedWeight;
use crate::error::Error;
use crate::precision::InputPrecision;

/// Quantises and packs latent weights.
///
/// # Shapes
/// `weight` `[out, in]`, f32, f16 or bf16; returns codes U32 `[out · ceil(in / 16)]` and scales
/// F32 `[layout.scale_count()]`. No gradient flows through. A NaN or infinite weight makes its
/// scale NaN.
///
/// # Errors
/// [`Error::Shape`] or [`Error::DType`].
pub fn quantize_weight(
    weight: Tensor<2>,
    layout: &PackedLayout,
) -> Result<(Tensor<1, Int>, Tensor<1>), Error> {
    check_float("weight", weight.dtype(), &weight.device())?;
    check_weight_shape(&weight, layout)?;
    check_ready(&weight.device())?;
    let (codes, scales) =
        <Dispatch as TernaryOps>::quantize_weight(weight.into_dispatch(), layout.clone());
    Ok((Tensor::from_dispatch(codes), Tensor::from_dispatch(scales)))
}

/// Quantises activations to int8 with one absmax scale per token.
///
/// # Shapes
/// `x` `[tokens, in]`; returns codes U32 `[tokens · 4 · ceil(in / 16)]`, four int8 a word in rows
/// padded with zeros, and scales F32 `[tokens]` with `x ≈ code · scale`. No gradient flows through.
///
/// # Errors
/// [`Error::DType`], or [`Error::Layout`] for an empty or too wide `x`.
pub fn quantize_activations(x: Tensor<2>) -> Result<(Tensor<1, Int>, Tensor<1>), Error> {
    check_float("input", x.dtype(), &x.device())?;
    check_ready(&x.device())?;
    let [tokens, cols] = x.dims();
    PackedLayout::new(tokens.max(1), cols, Default::default(), Default::default())?;
    if tokens == 0 {
        let device = x.device();
        return Ok((
            Tensor::empty([0], (&device, DType::U32)),
            Tensor::empty([0], (&device, DType::F32)),
        ));
    }
    let (codes, scales) = <Dispatch as TernaryOps>::quantize_activations(x.into_dispatch());
    Ok((Tensor::from_dispatch(codes), Tensor::from_dispatch(scales)))
}

/// The real weights `[out, in]` of packed codes and scales, in `dtype`.
///
/// # Errors
/// [`Error::Shape`] or [`Error::DType`].
pub fn unpack_weight(
    codes: Tensor<1, Int>,
    scales: Tensor<1>,
    layout: &PackedLayout,
    dtype: DType,
) -> Result<Tensor<2>, Error> {
    check_written("unpacked weight", dtype, &codes.device())?;
    check_packed(&codes, &scales, layout)?;
    check_device("scales", &scales.device(), &codes.device())?;
    check_ready(&codes.device())?;
    Ok(Tensor::from_dispatch(
        <Dispatch as TernaryOps>::unpack_weight(
            codes.into_dispatch(),
            scales.into_dispatch(),
            layout.clone(),
            dtype,
        ),
    ))
}

/// `x · Ŵᵀ + bias` with packed weights.
///
/// On an NVIDIA GPU the weights are put in the order of its tensor-core kernels in every call; for
/// many calls with few tokens use a packed [`BitLinear`](crate::BitLinear) or a
/// [`FrozenWeight`](super::FrozenWeight), which keep them so.
///
/// # Shapes
/// `x` `[.., in]` of f32, f16 or bf16; codes and scales as [`quantize_weight`] returns them; `bias`
/// `[out]` in the dtype of `x`. Returns `[.., out]` in the dtype of `x`. Differentiable in `x` and
/// `bias`.
///
/// # Errors
/// [`Error::InputFeatures`], [`Error::Shape`], [`Error::DType`] or [`Error::Device`].
pub fn packed_linear<const D: usize>(
    x: Tensor<D>,
    codes: Tensor<1, Int>,
    scales: Tensor<1>,
    bias: Option<Tensor<1>>,
    layout: &PackedLayout,
    precision: InputPrecision,
) -> Result<Tensor<D>, Error> {
    check_packed(&codes, &scales, layout)?;
    check_device("packed weight", &codes.device(), &x.device())?;
    check_device("scale", &scales.device(), &x.device())?;
    let weight = WeightOperand::Canonical {
        codes: codes.into_dispatch(),
        scales: scales.into_dispatch(),
    };
    linear(x, weight, bias, layout, precision)
}

/// [`packed_linear`] with weights that `prepack` has put in kernel order: the
/// same numbers, without prepacking in every call.
///
/// # Shapes
/// `x` `[.., in]`, `bias` `[out]` in the dtype of `x`; returns `[.., out]` in the dtype of `x`.
/// Differentiable in `x` and `bias`; gradients read the canonical codes.
///
/// # Errors
/// [`Error::InputFeatures`], [`Error::Shape`], [`Error::DType`] or [`Error::Device`].
pub fn prepacked_linear<const D: usize>(
    x: Tensor<D>,
    weight: &PrepackedWeight,
    bias: Option<Tensor<1>>,
) -> Result<Tensor<D>, Error> {
    check_device("packed weight", &weight.codes.device(), &x.device())?;
    linear(
        x,
        weight.operand(),
        bias,
        weight.layout(),
        weight.input_precision(),
    )
}

/// The product with a weight operand that has been checked and is on the device of `x`.
pub(super) fn linear<const D: usize>(
    x: Tensor<D>,
    weight: WeightOperand<Dispatch>,
    bias: Option<Tensor<1>>,
    layout: &PackedLayout,
    precision: InputPrecision,
) -> Result<Tensor<D>, Error> {
    let tokens = TokenAxis::new(&x, shape_of(layout))?;
    check_bias(bias.as_ref(), &x, layout.out_features())?;
    tokens.map(x, |x| {
        Tensor::from_dispatch(<Dispatch as TernaryOps>::packed_linear(
            x.into_dispatch(),
            weight,
            dispatch_bias(bias),
            layout.clone(),
            precision,
        ))
    })
}

/// The training operation: quantises `weight` and (for [`InputPrecision::Int8`]) `x`, multiplies,
/// rescales, adds `bias`. Both quantisers pass gradients straight through:
/// `dX = dY · Ŵ`, `dW = dYᵀ · X̂`.
///
/// # Shapes
/// `x` `[.., in]`, `weight` `[out, in]`, `bias` `[out]`; returns `[.., out]` in the dtype of `x`.
///
/// # Errors
/// [`Error::InputFeatures`], [`Error::Shape`], [`Error::DType`] or [`Error::Device`].
pub fn bit_linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    layout: &PackedLayout,
    precision: InputPrecision,
) -> Result<Tensor<D>, Error> {
    check_float("weight", weight.dtype(), &weight.device())?;
    check_weight_shape(&weight, layout)?;
    let tokens = TokenAxis::new(&x, shape_of(layout))?;
    check_device("weight", &weight.device(), &x.device())?;
    check_bias(bias.as_ref(), &x, layout.out_features())?;
    tokens.map(x, |x| {
        Tensor::from_dispatch(<Dispatch as TernaryOps>::bit_linear(
            x.into_dispatch(),
            weight.into_dispatch(),
            dispatch_bias(bias),
            layout.clone(),
            precision,
        ))
    })
}

pub(super) fn dispatch_bias(bias: Option<Tensor<1>>) -> Bias<Dispatch> {
    bias.map(Tensor::into_dispatch).into()
}

/// The leading axes of an input, flattened to one token axis and restored afterwards.
pub(super) struct TokenAxis<const D: usize> {
    dims: [usize; D],
    in_features: usize,
    out_features: usize,
}

impl<const D: usize> TokenAxis<D> {
    /// The axes of `x` for weights `[out, in]`.
    pub fn new(x: &Tensor<D>, [out_features, in_features]: [usize; 2]) -> Result<Self, Error> {
        check_written("input", x.dtype(), &x.device())?;
        check_ready(&x.device())?;
        let dims = x.dims();
        let found = dims.last().copied().unwrap_or(0);
        if found != in_features {
            return Err(Error::InputFeatures {
                shape: dims.to_vec(),
                found,
                expected: in_features,
            });
        }
        Ok(Self {
            dims,
            in_features,
            out_features,
        })
    }

    pub fn map(
        self,
        x: Tensor<D>,
        product: impl FnOnce(Tensor<2>) -> Tensor<2>,
    ) -> Result<Tensor<D>, Error> {
        let tokens = self.dims[..D - 1].iter().product();
        let mut out = self.dims;
        out[D - 1] = self.out_features;
        if tokens == 0 {
            return Ok(Tensor::empty(out, (&x.device(), x.dtype())));
        }
        Ok(product(x.reshape([tokens, self.in_features])).reshape(out))
    }
}

/// A float type that kernels of `device` read.
pub(crate) fn check_float(
    operand: &'static str,
    found: DType,
    device: &Device,
) -> Result<(), Error> {
    if !matches!(found, DType::F32 | DType::F16 | DType::BF16) {
        return Err(Error::DType {
            operand,
            found,
            expected: "f32, f16 or bf16",
        });
    }
    match keeps_dtype(device, found) {
        true => Ok(()),
        false => Err(Error::Unsupported {
            device: format!("{device:?}"),
            dtype: found,
        }),
    }
}

/// As [`check_float`], for what kernels of `device` write, too: outputs have the dtype of their input.
pub(crate) fn check_written(
    operand: &'static str,
    found: DType,
    device: &Device,
) -> Result<(), Error> {
    if found == DType::BF16 && !rounds_to_bf16(device) {
        return Err(Error::DType {
            operand,
            found,
            expected: "f32 or f16: for bf16, CubeCL's CPU runtime needs a processor that has it, or \
                       libgcc 13",
        });
    }
    check_float(operand, found, device)
}

pub(crate) fn check_shape(
    operand: &'static str,
    found: &[usize],
    expected: &[usize],
) -> Result<(), Error> {
    match found == expected {
        true => Ok(()),
        false => Err(Error::Shape {
            operand,
            found: found.to_vec(),
            expected: expected.to_vec(),
        }),
    }
}

pub(crate) fn check_weight_shape(weight: &Tensor<2>, layout: &PackedLayout) -> Result<(), Error> {
    check_shape("weight", &weight.dims(), &shape_of(layout))
}

fn shape_of(layout: &PackedLayout) -> [usize; 2] {
    [layout.out_features(), layout.in_features()]
}

pub(crate) fn check_packed(
    codes: &Tensor<1, Int>,
    scales: &Tensor<1>,
    layout: &PackedLayout,
) -> Result<(), Error> {
    check_shape("packed codes", &codes.dims(), &[layout.word_count()])?;
    check_shape("scales", &scales.dims(), &[layout.scale_count()])?;
    check_word_dtype("packed codes", codes.dtype())?;
    if scales.dtype() != DType::F32 {
        let found = scales.dtype();
        return Err(Error::DType {
            operand: "scales",
            found,
            expected: "f32",
        });
    }
    Ok(())
}

pub(crate) fn check_word_dtype(operand: &'static str, found: DType) -> Result<(), Error> {
    match found {
        DType::U32 => Ok(()),
        _ => Err(Error::DType {
            operand,
            found,
            expected: "u32",
        }),
    }
}

pub(crate) fn check_bias<const D: usize>(
    bias: Option<&Tensor<1>>,
    x: &Tensor<D>,
    out_features: usize,
) -> Result<(), Error> {
    let Some(bias) = bias else { return Ok(()) };
    if bias.dtype() != x.dtype() {
        let found = bias.dtype();
        let expected = "the dtype of the input";
        return Err(Error::DType {
            operand: "bias",
            found,
            expected,
        });
    }
    check_shape("bias", &bias.dims(), &[out_features])?;
    check_device("bias", &bias.device(), &x.device())
}

/// Device equality ignores autodiff: a packed weight is a constant of a training graph.
pub(crate) fn check_device(
    operand: &'static str,
    found: &Device,
    expected: &Device,
) -> Result<(), Error> {
    if found == expected {
        return Ok(());
    }
    Err(Error::Device {
        operand,
        found: format!("{found:?}"),
        expected: format!("{expected:?}"),
    })
}
