//! A linear layer with 2-bit weights.

use burn::module::{Content, DisplaySettings, Module, ModuleDisplay, Param};
use burn::nn::{Linear, RmsNorm};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use tritburn_formats::{PackedLayout, PackedMatrix};

use super::config::{BitLinearConfig, header_param};
use super::packed_weight::PackedWeight;
use super::projection::{project, split_segments};
use crate::error::{Error, PackError, check_scales};
use crate::ops;
use crate::precision::InputPrecision;
use crate::ternarize::TernaryWeight;
use crate::training::GatedActivation;

/// A linear layer whose weights, and by default inputs, are quantised in every forward pass, with
/// straight-through gradients to a float latent weight (BitNet b1.58, arXiv 2402.17764 section 2).
///
/// `y = x̂ · Ŵᵀ + b`, with `x̂ = s · round(norm(x) / s)` and
/// `Ŵ = γ · clamp(round(W / γ), -1, 1)`
///
/// Where:
/// - `x` is the input `[.., d_input]` and `y` the output `[.., d_output]`
/// - `norm` is the RMSNorm of the input, if the layer has one
/// - `s = max(max|norm(x)|, 1e-5) / 127` is the scale of a token;
///   [`InputPrecision::Float`] takes `x̂ = norm(x)` instead
/// - `W` is the latent weight `[d_output, d_input]`
/// - `γ = max(mean|W|, 1e-5)` is the scale of the weights that share one
///   ([`ScaleGranularity`](crate::ScaleGranularity)); with
///   [`WeightCode::Int2`](crate::WeightCode::Int2) there are four levels instead of three
/// - `b` is the bias `[d_output]`, if the layer has one
/// - `round` rounds to nearest, ties to even.
///
/// Created with [`BitLinearConfig`]. [`Pack::pack`](crate::Pack::pack) puts 2-bit codes in place of
/// the latent weight: the same type, which then runs on the codes and gives the same numbers.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Distribution, Tensor};
/// use tritburn::{BitLinearConfig, Pack};
///
/// let device = Device::default();
/// let layer = BitLinearConfig::new(64, 32).with_bias(true).init(&device);
/// let x = Tensor::<3>::random([2, 5, 64], Distribution::Default, &device);
/// let y = layer.forward(x.clone());
/// assert_eq!(y.dims(), [2, 5, 32]);
///
/// let packed = layer.pack()?;
/// assert_eq!(packed.forward(x).into_data(), y.into_data());
/// // 16 codes a word of 4 bytes.
/// assert_eq!(packed.codes()?.dims(), [64 * 32 / 16]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct BitLinear {
    /// Latent weight `[d_output, d_input]`; in packed state the scales, `[1, scale_count]`, with a
    /// [`PackedWeight`] attached.
    pub weight: Param<Tensor<2>>,
    /// [`PackedHeader`](tritburn_formats::PackedHeader) as U32 words: stored with every record.
    pub header: Param<Tensor<1, Int>>,
    /// Bias `[d_output]`, added after the rescale.
    pub bias: Option<Param<Tensor<1>>>,
    /// RMSNorm of the input (SubLN).
    pub norm: Option<RmsNorm>,
    #[module(skip)]
    layout: PackedLayout,
    #[module(skip)]
    precision: InputPrecision,
}

impl BitLinear {
    pub(super) fn from_parts(
        weight: Param<Tensor<2>>,
        bias: Option<Param<Tensor<1>>>,
        norm: Option<RmsNorm>,
        layout: PackedLayout,
        precision: InputPrecision,
        device: &Device,
    ) -> Self {
        let header = header_param(&layout, device);
        Self {
            weight,
            header,
            bias,
            norm,
            layout,
            precision,
        }
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
            .unwrap_or_else(|error| panic!("BitLinear: {error}"))
    }

    /// Applies the layer, as [`forward`](Self::forward) does.
    ///
    /// # Errors
    /// [`Error::InputFeatures`] if the last axis of `x` is not `d_input`, [`Error::DType`] if it is
    /// no float or not the dtype of the norm, [`Error::Device`] if it lives elsewhere than the layer.
    pub fn try_forward<const D: usize>(&self, x: Tensor<D>) -> Result<Tensor<D>, Error> {
        project(self, x, None)
    }

    /// Applies the layer to a gated unit, `f(gate) · up`, in place of `x`: the down projection of a
    /// feed-forward block, whose norm, if it has one, is the sub-norm. Gate, norm, quantiser and
    /// product are one operation that keeps `gate_up` alone of its floats.
    ///
    /// # Shapes
    /// - `gate_up`: `[.., 2 · d_input]`, the gate first, f32, f16 or bf16
    /// - output: `[.., d_output]`, in the dtype of `gate_up`
    ///
    /// # Panics
    /// Where [`try_forward_gated`](Self::try_forward_gated) returns an error, with its message.
    ///
    /// # Examples
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use tritburn::{BitLinearConfig, training::GatedActivation};
    ///
    /// let device = Device::default();
    /// let down = BitLinearConfig::new(128, 64).with_norm(true).init(&device);
    /// let gate_up = Tensor::<2>::ones([3, 256], &device);
    /// let y = down.forward_gated(gate_up, GatedActivation::SquaredRelu);
    /// assert_eq!(y.dims(), [3, 64]);
    /// ```
    pub fn forward_gated<const D: usize>(
        &self,
        gate_up: Tensor<D>,
        activation: GatedActivation,
    ) -> Tensor<D> {
        self.try_forward_gated(gate_up, activation)
            .unwrap_or_else(|error| panic!("BitLinear: {error}"))
    }

    /// Applies the layer to a gated unit, as [`forward_gated`](Self::forward_gated) does.
    ///
    /// # Errors
    /// [`Error::InputFeatures`] if the last axis of `gate_up` is not `2 · d_input`,
    /// [`Error::DType`] or [`Error::Device`].
    pub fn try_forward_gated<const D: usize>(
        &self,
        gate_up: Tensor<D>,
        activation: GatedActivation,
    ) -> Result<Tensor<D>, Error> {
        project(self, gate_up, Some(activation))
    }

    /// Applies a [fused](BitLinearConfig::fused) layer and cuts the result into its projections. The
    /// input is normalised and quantised once.
    ///
    /// # Shapes
    /// - `x`: `[.., d_input]`
    /// - output: one `[.., rows]` for each projection; a single `[.., d_output]` if the layer is not
    ///   fused
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    ///
    /// # Examples
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use tritburn::BitLinearConfig;
    ///
    /// let device = Device::default();
    /// let qkv = BitLinearConfig::fused(64, &[64, 16, 16]).init(&device);
    /// let parts = qkv.forward_segments(Tensor::<2>::ones([3, 64], &device));
    /// assert_eq!(parts[1].dims(), [3, 16]);
    /// ```
    pub fn forward_segments<const D: usize>(&self, x: Tensor<D>) -> Vec<Tensor<D>> {
        split_segments(self.forward(x), &self.layout)
    }

    /// Takes over weight and bias of a Burn [`Linear`]. One trained through
    /// [`ternarize_linears`](crate::ternarize_linears) hands over its latent weight, code table and
    /// granularity; choose [`InputPrecision::Float`] for the numbers it was trained with.
    ///
    /// # Arguments
    /// - `linear`: decides the sizes and whether there is a bias
    /// - `config`: decides the rest
    ///
    /// # Errors
    /// [`Error::Layout`] if the granularity does not fit.
    ///
    /// # Examples
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn::tensor::Device;
    /// use tritburn::{BitLinear, BitLinearConfig};
    ///
    /// let linear = LinearConfig::new(64, 32).init(&Device::default());
    /// let layer = BitLinear::from_linear(&linear, &BitLinearConfig::new(64, 32))?;
    /// assert_eq!(layer.layout().out_features(), 32);
    /// # Ok::<(), tritburn::Error>(())
    /// ```
    pub fn from_linear(linear: &Linear, config: &BitLinearConfig) -> Result<Self, Error> {
        // Burn stores `[d_input, d_output]`.
        let ternary = linear.weight.reparameterization::<TernaryWeight>();
        let latent = match ternary {
            Some(_) => linear.weight.base(),
            None => linear.weight.val(),
        };
        let [d_input, d_output] = latent.dims();
        let device = latent.device();
        let config = BitLinearConfig {
            d_input,
            d_output,
            bias: linear.bias.is_some(),
            ..config.clone()
        };
        let config = match ternary.map(TernaryWeight::layout) {
            Some(layout) => config
                .with_code(layout.code())
                .with_scale(layout.scale().clone()),
            None => config,
        };
        let mut layer = config.try_init(&device)?;
        layer.weight = Param::from_tensor(latent.detach().transpose());
        layer.bias = linear.bias.clone();
        Ok(layer)
    }

    /// A packed layer on `device` from a packed matrix, without bias and norm.
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
        ops::check_ready(device).map_err(|source| PackError::Tensor {
            tensor: "weight".into(),
            source,
        })?;
        let layout = matrix.layout().clone();
        let codes = TensorData::new(matrix.words().to_vec(), [layout.word_count()]);
        let scales = TensorData::new(matrix.scales().to_vec(), [layout.scale_count()]);
        let weight = PackedWeight::attach(
            Param::from_tensor(Tensor::zeros([1, 1], device)),
            Tensor::from_data(codes, (device, DType::U32)),
            Tensor::from_data(scales, (device, DType::F32)),
            layout.clone(),
        );
        Ok(Self::from_parts(
            weight, None, None, layout, precision, device,
        ))
    }

    /// The packed codes, U32 `[layout.word_count()]`.
    ///
    /// # Errors
    /// [`Error::NotPacked`] if the weight is latent.
    pub fn codes(&self) -> Result<Tensor<1, Int>, Error> {
        let packed = self.weight.reparameterization::<PackedWeight>();
        Ok(packed.ok_or(Error::NotPacked)?.codes.val())
    }

    /// The scales of the packed codes, F32 `[layout.scale_count()]`.
    ///
    /// # Errors
    /// [`Error::NotPacked`] if the weight is latent.
    pub fn scales(&self) -> Result<Tensor<1>, Error> {
        self.codes()?;
        Ok(self.weight.base().flatten(0, 1))
    }

    /// The quantised weights Ŵ `[d_output, d_input]` that the layer multiplies with, in f32.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::DType`] for a latent weight that is not the layer's.
    pub fn dense_weight(&self) -> Result<Tensor<2>, Error> {
        let (codes, scales) = match self.is_packed() {
            true => (self.codes()?, self.scales()?),
            false => ops::quantize_weight(self.weight.val().detach(), &self.layout)?,
        };
        ops::unpack_weight(codes, scales, &self.layout, DType::F32)
    }

    /// Whether the weight is in packed state.
    pub fn is_packed(&self) -> bool {
        self.weight.reparameterization::<PackedWeight>().is_some()
    }

    /// Shape, code table and scale granularity of the packed weight.
    pub fn layout(&self) -> &PackedLayout {
        &self.layout
    }

    /// Precision of the input.
    pub fn input_precision(&self) -> InputPrecision {
        self.precision
    }
}

impl ModuleDisplay for BitLinear {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new()
            .with_new_line_after_attribute(false)
            .optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        content
            .add("d_input", &self.layout.in_features())
            .add("d_output", &self.layout.out_features())
            .add("bias", &self.bias.is_some())
            .add("norm", &self.norm.is_some())
            .add("packed", &self.is_packed())
            .optional()
    }
}
