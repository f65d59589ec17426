//! Affine weights for inference only, on a device.

use burn::backend::Dispatch;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use tritburn_formats::affine::{AffineLayout, AffineMatrix, FloatType, Floats};

use super::backend::AffineOps;
use super::operand::AffineOperand;
use crate::error::Error;
use crate::ops::api::{
    TokenAxis, check_bias, check_device, check_shape, check_word_dtype, dispatch_bias,
};
use crate::ops::device::{check_ready, keeps_dtype};

/// A matrix of weights `(code - zero) · scale` on a device, with codes of 2, 3 or 4 bits and groups: what
/// [`FrozenWeight`](crate::ops::FrozenWeight) is to 2-bit weights.
///
/// # Examples
///
/// int4 in three lines:
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::tensor::{Device, Tensor};
/// use tritburn::formats::affine::{AffineLayout, Bits};
/// use tritburn::formats::quantize::affine::round_to_nearest;
/// use tritburn::ops::FrozenAffineWeight;
///
/// # let device = Device::flex();
/// # let weights = [0.25f32; 4 * 64];
/// let layout = AffineLayout::new([4, 64], Bits::Four, Some(32))?; // [out, in], a scale per 32 inputs
/// let weight = FrozenAffineWeight::from_matrix(&round_to_nearest(&weights, &layout)?, &device)?;
/// let y = weight.forward(Tensor::<2>::ones([3, 64], &device), None)?; // [3, 4]
/// # assert_eq!(y.dims(), [3, 4]);
/// # assert!(weight.byte_count() == 4 * (64 / 2 + 2 * 2)); // codes, and f16 scales
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct FrozenAffineWeight {
    parts: AffineParts,
    layout: AffineLayout,
}

/// The tensors of an affine matrix, all of rank 1.
#[derive(Clone, Debug)]
pub(crate) struct AffineParts {
    /// Codes, U32 `[layout.word_count()]`.
    pub words: Tensor<1, Int>,
    /// U32 `[layout.mask_count()]` of sparse weights.
    pub mask: Option<Tensor<1, Int>>,
    /// `[layout.group_count()]`.
    pub scales: Tensor<1>,
    /// As the scales, where there are zero points.
    pub zeros: Option<Tensor<1>>,
    /// U32 `[in]`, where columns have an order of their own.
    pub order: Option<Tensor<1, Int>>,
}

impl FrozenAffineWeight {
    /// Moves `matrix` to `device`. Scales and zero points keep their type, or become f32 on a device
    /// that lacks it.
    ///
    /// # Errors
    /// `Error::Cuda` for a CUDA device that cannot compile kernels; none on others.
    pub fn from_matrix(matrix: &AffineMatrix, device: &Device) -> Result<Self, Error> {
        check_ready(device)?;
        let layout = matrix.layout().clone();
        let layout = match keeps_dtype(device, dtype(layout.floats())) {
            true => layout,
            false => layout.with_floats(FloatType::F32),
        };
        let words = |words: &[u32]| {
            let data = TensorData::new(words.to_vec(), [words.len()]);
            Tensor::from_data(data, (device, DType::U32))
        };
        let dtype = dtype(layout.floats());
        let floats = |floats: &Floats| {
            let data = TensorData::new(floats.to_f32(), [floats.len()]).convert_dtype(dtype);
            Tensor::from_data(data, (device, dtype))
        };
        let parts = AffineParts {
            words: words(matrix.words()),
            mask: layout.is_sparse().then(|| words(matrix.mask())),
            scales: floats(matrix.scales()),
            zeros: matrix.zeros().map(floats),
            order: matrix.order().map(words),
        };
        Ok(Self { parts, layout })
    }

    /// A weight of parts that are checked here, of one device; their values are not looked at. The type
    /// of scales and zero points is that of the scales.
    pub(crate) fn new(layout: &AffineLayout, parts: AffineParts) -> Result<Self, Error> {
        let AffineParts {
            words,
            mask,
            scales,
            zeros,
            order,
        } = &parts;
        let device = words.device();
        let floats = match scales.dtype() {
            DType::F32 => FloatType::F32,
            DType::F16 => FloatType::F16,
            DType::BF16 => FloatType::Bf16,
            found => {
                return Err(Error::DType {
                    operand: "group scales",
                    found,
                    expected: "f32, f16 or bf16",
                });
            }
        };
        let check_words = |operand, part: Option<&Tensor<1, Int>>, expected: usize| {
            check_shape(
                operand,
                &[part.map_or(0, |part| part.dims()[0])],
                &[expected],
            )?;
            let Some(part) = part else { return Ok(()) };
            check_word_dtype(operand, part.dtype())?;
            check_device(operand, &part.device(), &device)
        };
        check_words("codes", Some(words), layout.word_count())?;
        check_words("mask", mask.as_ref(), layout.mask_count())?;
        let columns = usize::from(layout.is_permuted()) * layout.in_features();
        check_words("column order", order.as_ref(), columns)?;
        check_shape("group scales", &scales.dims(), &[layout.group_count()])?;
        check_device("group scales", &scales.device(), &device)?;
        let expected = usize::from(layout.has_zeros()) * layout.group_count();
        let found = zeros.as_ref().map_or(0, |zeros| zeros.dims()[0]);
        check_shape("zero points", &[found], &[expected])?;
        if let Some(zeros) = zeros {
            check_device("zero points", &zeros.device(), &device)?;
            if zeros.dtype() != scales.dtype() {
                return Err(Error::DType {
                    operand: "zero points",
                    found: zeros.dtype(),
                    expected: "the dtype of the scales",
                });
            }
        }
        let layout = layout.clone().with_floats(floats);
        Ok(Self { parts, layout })
    }

    /// Layout and tensors.
    pub(crate) fn into_parts(self) -> (AffineLayout, AffineParts) {
        (self.layout, self.parts)
    }

    /// Shape, bits, groups and which parts there are, as the device has them.
    pub fn layout(&self) -> &AffineLayout {
        &self.layout
    }

    /// Bytes of all parts on the device.
    pub fn byte_count(&self) -> usize {
        self.layout.byte_count()
    }

    /// `x · Wᵀ + bias`, in f32 sums. No gradient flows through.
    ///
    /// # Shapes
    /// `x` `[.., in]` of f32, f16 or bf16, in the order of the inputs; `bias` `[out]` in the dtype of
    /// `x`. Returns `[.., out]` in the dtype of `x`.
    ///
    /// # Errors
    /// [`Error::InputFeatures`], [`Error::Shape`], [`Error::DType`], [`Error::Device`] or
    /// [`Error::Unsupported`].
    pub fn forward<const D: usize>(
        &self,
        x: Tensor<D>,
        bias: Option<Tensor<1>>,
    ) -> Result<Tensor<D>, Error> {
        let [out, input] = [self.layout.out_features(), self.layout.in_features()];
        check_device("affine weight", &self.parts.words.device(), &x.device())?;
        let tokens = TokenAxis::new(&x, [out, input])?;
        check_bias(bias.as_ref(), &x, out)?;
        let x = x.without_autodiff();
        let bias = bias.map(Tensor::without_autodiff);
        tokens.map(x, |x| {
            Tensor::from_dispatch(<Dispatch as AffineOps>::matmul_affine(
                x.into_dispatch(),
                self.operand(),
                dispatch_bias(bias),
                self.layout.clone(),
            ))
        })
    }

    fn operand(&self) -> AffineOperand<Dispatch> {
        // Constants of every graph.
        let words = |part: &Tensor<1, Int>| part.clone().without_autodiff().into_dispatch();
        let floats = |part: &Tensor<1>| part.clone().without_autodiff().into_dispatch();
        let parts = &self.parts;
        AffineOperand {
            words: words(&parts.words),
            mask: parts.mask.as_ref().map(words).into(),
            scales: floats(&parts.scales),
            zeros: parts.zeros.as_ref().map(floats).into(),
            order: parts.order.as_ref().map(words).into(),
        }
    }
}

fn dtype(floats: FloatType) -> DType {
    match floats {
        FloatType::F32 => DType::F32,
        FloatType::F16 => DType::F16,
        FloatType::Bf16 => DType::BF16,
    }
}
