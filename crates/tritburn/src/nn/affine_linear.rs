//! A linear layer with weights of 2, 3 or 4 bits in groups.

use burn::module::{Content, DisplaySettings, Module, ModuleDisplay, Param, ParamId};
use burn::nn::Linear;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use tritburn_formats::affine::{AffineHeader, AffineLayout, AffineMatrix};
use tritburn_formats::quantize::affine::{AffineQuantizer, WeightReport, weight_report};

use crate::error::{Error, PackError};
use crate::ops::{AffineParts, FrozenAffineWeight};
use crate::pack::read_vec;
use crate::quantize_linears::AffineWeight;

/// A linear layer of weights `(code - zero) · scale`, quantised after training or in it: int4, int3 or int2 with
/// a scale and a zero point per group of inputs. It runs and is stored; it does not train, and no
/// gradient flows through: to train for it, take [`quantize_linears`](crate::quantize_linears).
///
/// `y = x · Ŵᵀ + b`
///
/// Where:
/// - `x` is the input `[.., d_input]` and `y` the output `[.., d_output]`
/// - `Ŵ` are the weights `[d_output, d_input]` of the [layout](tritburn_formats::affine)
/// - `b` is the bias `[d_output]`, if the layer has one.
///
/// # Examples
///
/// int4 in three lines:
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use tritburn::AffineLinear;
/// use tritburn::formats::affine::Bits;
/// use tritburn::formats::quantize::affine::AffineQuantizer;
///
/// # let device = Device::default();
/// let linear = LinearConfig::new(256, 64).init(&device); // trained somewhere
/// let int4 = AffineQuantizer::new(Bits::Four, Some(128)); // a scale for 128 inputs
/// let (layer, report) = AffineLinear::from_linear(&linear, &int4)?;
/// let y = layer.forward(Tensor::<2>::ones([3, 256], &device));
/// assert_eq!(y.dims(), [3, 64]);
/// assert!(report.relative_error < 0.1 && report.bits_per_weight == 4.25);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct AffineLinear {
    /// Codes, U32 `[layout.word_count()]`.
    pub codes: Param<Tensor<1, Int>>,
    /// Kept inputs of 16:32 sparse weights, U32 `[layout.mask_count()]`.
    pub mask: Option<Param<Tensor<1, Int>>>,
    /// `[layout.group_count()]`.
    pub scales: Param<Tensor<1>>,
    /// `[layout.group_count()]`, where zero points are stored.
    pub zeros: Option<Param<Tensor<1>>>,
    /// The input of each column, U32 `[d_input]`, where they have an order of their own.
    pub order: Option<Param<Tensor<1, Int>>>,
    /// [`AffineHeader`] as U32 words: stored with every record.
    pub header: Param<Tensor<1, Int>>,
    /// Bias `[d_output]`.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    layout: AffineLayout,
}

impl AffineLinear {
    /// Quantises the weight of a trained Burn [`Linear`] on its device, takes over its bias, and says what
    /// that did to the weights. One trained through [`quantize_linears`](crate::quantize_linears) is quantised as it
    /// was trained, whatever `quantizer` is: to the same weights, bit for bit.
    ///
    /// # Errors
    /// [`PackError::Matrix`] for a weight that is not finite and for groups that do not fit,
    /// [`PackError::Read`] for one that its device does not give back, [`PackError::Tensor`] for a
    /// device that cannot run kernels.
    pub fn from_linear(
        linear: &Linear,
        quantizer: &AffineQuantizer,
    ) -> Result<(Self, WeightReport), PackError> {
        // Burn stores `[d_input, d_output]`.
        let trained = linear.weight.reparameterization::<AffineWeight>();
        let (weight, quantizer) = match trained {
            Some(trained) => (linear.weight.base(), trained.quantizer()),
            None => (linear.weight.val(), quantizer),
        };
        let weight = weight.detach().transpose();
        let (shape, device) = (weight.dims(), weight.device());
        let values = read_vec::<f32>("weight", weight.cast(DType::F32).try_into_data())?;
        let refused = |source| PackError::Matrix {
            tensor: "weight".to_string(),
            source,
        };
        let matrix = quantizer.quantize(&values, shape).map_err(refused)?;
        let report = weight_report(&values, &matrix).map_err(refused)?;
        let layer = Self::from_matrix(&matrix, &device)?;
        Ok((layer.with_bias(linear.bias.clone()), report))
    }

    /// A layer on `device` from a matrix, without bias. Scales and zero points become f32 on a device
    /// that lacks their type.
    ///
    /// # Errors
    /// [`PackError::Tensor`] for a device that cannot run kernels.
    pub fn from_matrix(matrix: &AffineMatrix, device: &Device) -> Result<Self, PackError> {
        let weight = FrozenAffineWeight::from_matrix(matrix, device);
        let weight = weight.map_err(|source| PackError::Tensor {
            tensor: "weight".to_string(),
            source,
        })?;
        let (layout, parts) = weight.into_parts();
        let header = AffineHeader::new(layout.clone()).to_words();
        let header = TensorData::new(header, [AffineHeader::WORDS]);
        let words = |words: Tensor<1, Int>| Param::initialized(ParamId::new(), words);
        Ok(Self {
            codes: words(parts.words),
            mask: parts.mask.map(words),
            scales: constant(parts.scales),
            zeros: parts.zeros.map(constant),
            order: parts.order.map(words),
            header: words(Tensor::from_data(header, (device, DType::U32))),
            bias: None,
            layout,
        })
    }

    /// The layer with a bias `[d_output]`, or none.
    pub fn with_bias(self, bias: Option<Param<Tensor<1>>>) -> Self {
        Self { bias, ..self }
    }

    /// Applies the layer.
    ///
    /// # Shapes
    /// - `x`: `[.., d_input]`, f32, f16 or bf16
    /// - output: `[.., d_output]`, in the dtype of `x`
    ///
    /// # Panics
    /// Where [`try_forward`](Self::try_forward) returns an error, with its message.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.try_forward(x)
            .unwrap_or_else(|error| panic!("AffineLinear: {error}"))
    }

    /// Applies the layer, as [`forward`](Self::forward) does.
    ///
    /// # Errors
    /// [`Error::InputFeatures`] if the last axis of `x` is not `d_input`, [`Error::DType`] if it is no
    /// float or the bias of another type, [`Error::Device`] if it lives elsewhere than the layer, and
    /// [`Error::Shape`] or [`Error::DType`] for parts of another layout.
    pub fn try_forward<const D: usize>(&self, x: Tensor<D>) -> Result<Tensor<D>, Error> {
        let words = |part: &Option<Param<Tensor<1, Int>>>| part.as_ref().map(Param::val);
        let weight = FrozenAffineWeight::new(
            &self.layout,
            AffineParts {
                words: self.codes.val(),
                mask: words(&self.mask),
                scales: self.scales.val(),
                zeros: self.zeros.as_ref().map(Param::val),
                order: words(&self.order),
            },
        )?;
        weight.forward(x, self.bias.as_ref().map(Param::val))
    }

    /// Shape, bits, groups and which parts there are.
    pub fn layout(&self) -> &AffineLayout {
        &self.layout
    }
}

fn constant(floats: Tensor<1>) -> Param<Tensor<1>> {
    Param::initialized(ParamId::new(), floats).set_require_grad(false)
}

impl ModuleDisplay for AffineLinear {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new()
            .with_new_line_after_attribute(false)
            .optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        content
            .add("d_input", &self.layout.in_features())
            .add("d_output", &self.layout.out_features())
            .add("bits", &self.layout.bits().count())
            .add("group_size", &self.layout.span())
            .add("bias", &self.bias.is_some())
            .optional()
    }
}
