//! A linear layer that holds nothing but packed weights, for inference.

use burn::module::{Content, DisplaySettings, Module, ModuleDisplay, Param};
use burn::nn::RmsNorm;
use burn::tensor::{DType, Int, Tensor, TensorData};
use tritburn_formats::{PackedLayout, PackedMatrix};

use super::activations::Activations;
use super::bit_linear::BitLinear;
use super::config::header_param;
use super::packed_weight::PackedWeight;
use super::projection::{project, split_segments};
use crate::error::Error;
use crate::ops;
use crate::pack::{PackError, check_scales};

/// The packed twin of a [`BitLinear`]: 2 bits a weight, same numbers.
///
/// Records hold the canonical layout under the same names as those of a packed [`BitLinear`].
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct PackedLinear {
    /// Scales F32 `[1, scale_count]`, with the codes attached as a [`PackedWeight`].
    pub weight: Param<Tensor<2>>,
    /// [`PackedHeader`](tritburn_formats::PackedHeader) as U32 words.
    pub header: Param<Tensor<1, Int>>,
    /// Bias `[d_output]`, added after the rescale.
    pub bias: Option<Param<Tensor<1>>>,
    /// RMSNorm of the input (SubLN).
    pub norm: Option<RmsNorm>,
    #[module(skip)]
    layout: PackedLayout,
    #[module(skip)]
    activations: Activations,
}

impl PackedLinear {
    pub(super) fn from_parts(
        weight: Param<Tensor<2>>,
        header: Param<Tensor<1, Int>>,
        bias: Option<Param<Tensor<1>>>,
        norm: Option<RmsNorm>,
        layout: PackedLayout,
        activations: Activations,
    ) -> Self {
        Self {
            weight,
            header,
            bias,
            norm,
            layout,
            activations,
        }
    }

    /// A layer on `device` from a packed matrix of the codec crate.
    ///
    /// # Errors
    /// [`PackError::Scale`] for a scale that is not a positive number; [`PackError::Layer`] for a
    /// device that cannot run kernels.
    pub fn from_matrix(
        matrix: &PackedMatrix,
        activations: Activations,
        device: &burn::tensor::Device,
    ) -> Result<Self, PackError> {
        check_scales("weight", matrix.scales())?;
        ops::check_ready(device).map_err(|source| PackError::Layer {
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
        let header = header_param(&layout, device);
        Ok(Self::from_parts(
            weight,
            header,
            None,
            None,
            layout,
            activations,
        ))
    }

    /// The packed codes, U32 `[layout.word_count()]`.
    ///
    /// # Errors
    /// [`Error::NotPacked`] once the layer has been materialized.
    pub fn codes(&self) -> Result<Tensor<1, Int>, Error> {
        let packed = self.weight.reparameterization::<PackedWeight>();
        Ok(packed.ok_or(Error::NotPacked)?.codes.val())
    }

    /// The scales, F32 `[layout.scale_count()]`.
    ///
    /// # Errors
    /// [`Error::NotPacked`] once the layer has been materialized.
    pub fn scales(&self) -> Result<Tensor<1>, Error> {
        self.codes()?;
        Ok(self.weight.base().flatten(0, 1))
    }

    /// Applies the layer: `x` `[.., d_input]` to `[.., d_output]`, in the dtype of `x`.
    ///
    /// # Panics
    /// Where [`try_forward`](Self::try_forward) returns an error, with its message.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.try_forward(x)
            .unwrap_or_else(|error| panic!("PackedLinear: {error}"))
    }

    /// Applies the layer: `x` `[.., d_input]` to `[.., d_output]`, in the dtype of `x`.
    ///
    /// # Errors
    /// [`Error::InputFeatures`], [`Error::DType`] or [`Error::Device`].
    pub fn try_forward<const D: usize>(&self, x: Tensor<D>) -> Result<Tensor<D>, Error> {
        project(
            x,
            &self.weight,
            self.bias.as_ref(),
            self.norm.as_ref(),
            &self.layout,
            self.activations,
        )
    }

    /// Applies a fused layer and cuts the result into its projections: see
    /// [`BitLinear::forward_segments`].
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn forward_segments<const D: usize>(&self, x: Tensor<D>) -> Vec<Tensor<D>> {
        split_segments(self.forward(x), &self.layout)
    }

    /// The real weights `[d_output, d_input]` that codes and scales stand for, in f32.
    ///
    /// # Errors
    /// [`Error::NotPacked`] once the layer has been materialized.
    pub fn dense_weight(&self) -> Result<Tensor<2>, Error> {
        ops::unpack_weight(self.codes()?, self.scales()?, &self.layout, DType::F32)
    }

    /// A layer to train on: its latent weight quantises to the same codes and scales (scales up to
    /// f32 rounding; int2 codes may move where a row is nearly all ±1.5).
    pub fn unpack(&self) -> BitLinear {
        BitLinear::from_parts(
            self.weight.clone().materialize().set_require_grad(true),
            self.bias.clone(),
            self.norm.clone(),
            self.layout.clone(),
            self.activations,
            &self.header.device(),
        )
    }

    /// Shape, code table and scale granularity of the packed weight.
    pub fn layout(&self) -> &PackedLayout {
        &self.layout
    }

    /// Precision of the input.
    pub fn activations(&self) -> Activations {
        self.activations
    }
}

impl ModuleDisplay for PackedLinear {
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
            .add("bytes", &self.layout.byte_count())
            .optional()
    }
}
