//! Configuration of [`BitLinear`].

use burn::config::Config;
use burn::module::{Initializer, Param, ParamId};
use burn::nn::RmsNormConfig;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use tritburn_formats::{PackedHeader, PackedLayout, ScaleGranularity, WeightCode};

use super::bit_linear::BitLinear;
use crate::error::Error;
use crate::ops;
use crate::precision::InputPrecision;

/// Configuration of a [`BitLinear`].
///
/// # Examples
///
/// ```
/// use burn::tensor::Device;
/// use tritburn::{BitLinearConfig, InputPrecision, ScaleGranularity};
///
/// let device = Device::default();
/// let up = BitLinearConfig::new(256, 1024).with_norm(true).init(&device);
/// // q | k | v as one matrix: the input is quantised once, each part keeps its own scale.
/// let qkv = BitLinearConfig::fused(256, &[256, 64, 64]).init(&device);
/// // Weight-only quantisation, one scale for every 64 inputs of a row.
/// let down = BitLinearConfig::new(1024, 256)
///     .with_scale(ScaleGranularity::Group { size: 64 })
///     .with_input_precision(InputPrecision::Float)
///     .init(&device);
/// # let _ = (up, qkv, down);
/// ```
#[derive(Config, Debug)]
pub struct BitLinearConfig {
    /// Size of the input.
    pub d_input: usize,
    /// Size of the output.
    pub d_output: usize,
    /// Whether a bias is added after the rescale.
    #[config(default = false)]
    pub bias: bool,
    /// Whether the input passes an RMSNorm first (SubLN, arXiv 2310.11453 section 2.1).
    #[config(default = false)]
    pub norm: bool,
    /// ε of the RMSNorm.
    #[config(default = 1e-5)]
    pub norm_eps: f64,
    /// Code table of the weights.
    #[config(default = "WeightCode::Ternary")]
    pub code: WeightCode,
    /// Which weights share a scale.
    #[config(default = "ScaleGranularity::Tensor")]
    pub scale: ScaleGranularity,
    /// Precision of the input.
    #[config(default = "InputPrecision::Int8")]
    pub input_precision: InputPrecision,
    /// Initial distribution of the latent weight, `U(-k, k)` with `k = sqrt(1 / d_input)`.
    #[config(default = "Initializer::KaimingUniform{gain:1.0/3.0f64.sqrt(), fan_out_only:false}")]
    pub initializer: Initializer,
}

impl BitLinearConfig {
    /// Projections of the same input as one layer with a scale for each:
    /// see [`BitLinear::forward_segments`].
    ///
    /// # Arguments
    /// - `d_input`: size of the input
    /// - `d_outputs`: size of each projection, at most 64 of them
    pub fn fused(d_input: usize, d_outputs: &[usize]) -> Self {
        Self::new(d_input, d_outputs.iter().sum()).with_scale(ScaleGranularity::Segments {
            rows: d_outputs.to_vec(),
        })
    }

    /// The layout of the packed weight.
    ///
    /// # Errors
    /// [`Error::Layout`] if no packed matrix can have these sizes or this granularity.
    pub fn layout(&self) -> Result<PackedLayout, Error> {
        Ok(PackedLayout::new(
            self.d_output,
            self.d_input,
            self.code,
            self.scale.clone(),
        )?)
    }

    /// Initialises the layer on `device`.
    ///
    /// # Panics
    /// Where [`try_init`](Self::try_init) returns an error, with its message.
    pub fn init(&self, device: &Device) -> BitLinear {
        self.try_init(device)
            .unwrap_or_else(|error| panic!("BitLinear: {error}"))
    }

    /// Initialises the layer on `device`.
    ///
    /// # Errors
    /// [`Error::Layout`] if no packed matrix can have these sizes or this granularity; with feature
    /// `cuda`, `Error::Cuda` on a CUDA device that cannot compile kernels.
    pub fn try_init(&self, device: &Device) -> Result<BitLinear, Error> {
        let layout = self.layout()?;
        ops::check_ready(device)?;
        let (fan_in, fan_out) = (Some(self.d_input), Some(self.d_output));
        let shape = [self.d_output, self.d_input];
        let weight = self.initializer.init_with(shape, fan_in, fan_out, device);
        let bias = self.bias.then(|| {
            self.initializer
                .init_with([self.d_output], fan_in, fan_out, device)
        });
        let norm = self.norm.then(|| {
            RmsNormConfig::new(self.d_input)
                .with_epsilon(self.norm_eps)
                .init(device)
        });
        Ok(BitLinear::from_parts(
            weight,
            bias,
            norm,
            layout,
            self.input_precision,
            device,
        ))
    }
}

/// The header as a parameter, so that records of every kind carry it.
pub(super) fn header_param(layout: &PackedLayout, device: &Device) -> Param<Tensor<1, Int>> {
    let words = PackedHeader::new(layout.clone()).to_words();
    let data = TensorData::new(words.clone(), [words.len()]);
    Param::initialized(
        ParamId::new(),
        Tensor::from_data(data, (device, DType::U32)),
    )
}
