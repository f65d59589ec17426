//! Packed weights for inference only, in the one order that their device reads.

use burn::backend::Dispatch;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use tritburn_formats::layout::activation_words_per_row;
use tritburn_formats::{PackedLayout, PackedMatrix};

use super::api::{
    check_device, check_packed, check_shape, check_word_dtype, check_written, linear,
};
use super::backend::TernaryOps;
use super::bias::Bias;
use super::device::{check_ready, prefers_prepacked};
use super::operand::WeightOperand;
use super::prepack::prepack;
use crate::error::{Error, PackError, check_scales};
use crate::precision::InputPrecision;

/// A packed weight matrix on a device, 2 bits a weight and nothing else.
///
/// On an NVIDIA GPU the codes are kept in the order of its tensor-core kernels and in no other,
/// where a packed [`BitLinear`](crate::BitLinear) holds both: half the memory, no gradients, no way
/// back to a record.
#[derive(Clone, Debug)]
pub struct FrozenWeight {
    words: Tensor<1, Int>,
    scales: Tensor<1>,
    prepacked: bool,
    layout: PackedLayout,
    precision: InputPrecision,
}

impl FrozenWeight {
    /// Moves `matrix` to `device`, in the order for products with inputs of `precision`.
    ///
    /// # Errors
    /// [`PackError::Scale`] for a scale that is not a positive number; [`PackError::Tensor`] for a
    /// device that cannot run kernels.
    pub fn from_matrix(
        matrix: &PackedMatrix,
        precision: InputPrecision,
        device: &Device,
    ) -> Result<Self, PackError> {
        check_scales("weight", matrix.scales())?;
        let layout = matrix.layout();
        let codes = TensorData::new(matrix.words().to_vec(), [layout.word_count()]);
        let scales = TensorData::new(matrix.scales().to_vec(), [layout.scale_count()]);
        Self::new(
            Tensor::from_data(codes, (device, DType::U32)),
            Tensor::from_data(scales, (device, DType::F32)),
            layout,
            precision,
        )
        .map_err(|source| PackError::Tensor {
            tensor: "weight".into(),
            source,
        })
    }

    /// From codes and scales as [`quantize_weight`](super::quantize_weight) returns them.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::DType`], [`Error::Device`].
    pub fn new(
        codes: Tensor<1, Int>,
        scales: Tensor<1>,
        layout: &PackedLayout,
        precision: InputPrecision,
    ) -> Result<Self, Error> {
        let prepacked = prefers_prepacked(&codes.device(), layout, precision);
        let (words, scales) = match prepacked {
            true => {
                let weight = prepack(codes, scales, layout, precision)?;
                (weight.words(), weight.row_scales())
            }
            false => {
                check_packed(&codes, &scales, layout)?;
                check_device("scales", &scales.device(), &codes.device())?;
                check_ready(&codes.device())?;
                (codes.without_autodiff(), scales.without_autodiff())
            }
        };
        Ok(Self {
            words,
            scales,
            prepacked,
            layout: layout.clone(),
            precision,
        })
    }

    /// Shape, code table and scale granularity.
    pub fn layout(&self) -> &PackedLayout {
        &self.layout
    }

    /// Precision of the input that the weight is kept for.
    pub fn input_precision(&self) -> InputPrecision {
        self.precision
    }

    /// Codes and row scales, if they are in the fragment order for int8 inputs.
    pub(crate) fn int8_fragments(&self) -> Option<(Tensor<1, Int>, Tensor<1>)> {
        let int8 = self.prepacked && self.precision == InputPrecision::Int8;
        int8.then(|| (self.words.clone(), self.scales.clone()))
    }

    /// Bytes of weights and scales on the device.
    pub fn byte_count(&self) -> usize {
        4 * (self.words.dims()[0] + self.scales.dims()[0])
    }

    /// `x · Ŵᵀ`; `x` `[.., in]` is quantised first unless the weight is kept for float activations.
    /// Returns `[.., out]` in the dtype of `x`. No gradient flows through.
    ///
    /// # Errors
    /// As [`packed_linear`](super::packed_linear).
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Result<Tensor<D>, Error> {
        check_device("packed weight", &self.words.device(), &x.device())?;
        let x = x.without_autodiff();
        linear(x, self.operand(), None, &self.layout, self.precision)
    }

    /// The product with activations that are quantised already, by
    /// [`quantize_activations`](super::quantize_activations) or an operation that gives the same.
    ///
    /// # Shapes
    /// `codes` U32 `[tokens · 4 · ceil(in / 16)]`, `scales` F32 `[tokens]`; returns `[tokens, out]`
    /// of `dtype`.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::DType`], [`Error::Device`]; [`Error::FloatActivations`] if
    /// that is what the weight is kept for.
    pub fn forward_quantized(
        &self,
        codes: Tensor<1, Int>,
        scales: Tensor<1>,
        dtype: DType,
    ) -> Result<Tensor<2>, Error> {
        let device = self.words.device();
        if self.precision != InputPrecision::Int8 {
            return Err(Error::FloatActivations);
        }
        let [tokens] = scales.dims();
        let words = tokens * activation_words_per_row(self.layout.in_features());
        check_written("output", dtype, &device)?;
        check_shape("quantised input", &codes.dims(), &[words])?;
        check_word_dtype("quantised input", codes.dtype())?;
        check_device("quantised input", &codes.device(), &device)?;
        check_device("scales of the input", &scales.device(), &device)?;
        if tokens == 0 {
            return Ok(Tensor::empty(
                [0, self.layout.out_features()],
                (&device, dtype),
            ));
        }
        Ok(Tensor::from_dispatch(
            <Dispatch as TernaryOps>::matmul_w2a8(
                codes.into_dispatch(),
                scales.into_dispatch(),
                self.operand(),
                Bias::Absent,
                self.layout.clone(),
                dtype,
            ),
        ))
    }

    fn operand(&self) -> WeightOperand<Dispatch> {
        let (words, scales) = (
            self.words.clone().into_dispatch(),
            self.scales.clone().into_dispatch(),
        );
        match self.prepacked {
            true => WeightOperand::Fragments {
                words,
                row_scales: scales,
            },
            false => WeightOperand::Canonical {
                codes: words,
                scales,
            },
        }
    }
}
