//! The vision transformer, with gradients or packed.

use burn::module::{Initializer, Module, Param};
use burn::nn::LayerNorm;
use burn::tensor::{DType, Device, Tensor};
use tritburn::ops::captures_graphs;

use super::block::{Block, layer_norm, normalise};
use super::config::VisionConfig;
use super::drop_path::DropPath;
use super::error::VisionError;
use super::projection::DenseLinear;

/// Standard deviation of fresh positions.
const POSITION_STD: f64 = 0.02;

/// A vision transformer: patches, learned positions, blocks, mean of the patches, head.
///
/// Parameters are f32, activations are in the dtype that the model was made with, statistics and logits
/// are f32. A model on an autodiff device trains; [`Pack`](tritburn::Pack) makes a packed one, which gives
/// the same numbers.
#[derive(Module, Debug)]
pub struct VisionTransformer {
    pub(super) patches: DenseLinear,
    /// `[tokens, width]`.
    pub(super) positions: Param<Tensor<2>>,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: DenseLinear,
    #[module(skip)]
    config: VisionConfig,
    #[module(skip)]
    dtype: DType,
}

impl VisionTransformer {
    /// A model of fresh weights, with activations in `dtype`.
    ///
    /// # Errors
    /// [`VisionError::Config`], [`VisionError::ActivationType`], or [`VisionError::Operation`] for sizes
    /// that no packed matrix has.
    pub fn new(config: &VisionConfig, dtype: DType, device: &Device) -> Result<Self, VisionError> {
        config.validate()?;
        if !matches!(dtype, DType::F32 | DType::BF16 | DType::F16) {
            return Err(VisionError::ActivationType { found: dtype });
        }
        let width = config.hidden_size;
        let positions = Initializer::Normal {
            mean: 0.0,
            std: POSITION_STD,
        };
        let blocks = (0..config.num_hidden_layers).map(|_| Block::new(config, device));
        Ok(Self {
            patches: DenseLinear::new(config.patch_values(), width, None, device),
            positions: positions.init([config.tokens(), width], device),
            blocks: blocks.collect::<Result<_, _>>()?,
            norm: layer_norm(config, device),
            head: DenseLinear::new(width, config.num_classes(), None, device),
            config: config.clone(),
            dtype,
        })
    }

    /// The type of activations that runs best on `device`: bf16 on GPUs that compute with it, else f32.
    pub fn dtype_for(device: &Device) -> DType {
        match captures_graphs(device) && device.supports_dtype(DType::BF16) {
            true => DType::BF16,
            false => DType::F32,
        }
    }

    /// Sizes and classes.
    pub fn config(&self) -> &VisionConfig {
        &self.config
    }

    /// Type of the activations.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The device that the model is on.
    pub fn device(&self) -> Device {
        self.positions.lazy_device()
    }

    /// Features of the patches after the last block, `[batch, tokens, width]` in the model's dtype.
    ///
    /// # Shapes
    /// `images` `[batch, channels, size, size]` of any float dtype, normalised as
    /// [`Picture::batch`](super::Picture::batch) does.
    ///
    /// # Errors
    /// [`VisionError::ImageShape`], [`VisionError::NoImages`], or [`VisionError::Operation`] for images on
    /// another device.
    pub fn features(&self, images: Tensor<4>) -> Result<Tensor<3>, VisionError> {
        self.features_with(images, None)
    }

    /// [`features`](Self::features) with some branches left out, for training.
    ///
    /// # Errors
    /// As [`features`](Self::features).
    pub fn features_with(
        &self,
        images: Tensor<4>,
        dropped: Option<DropPath>,
    ) -> Result<Tensor<3>, VisionError> {
        let patches = self.cut(images)?;
        let x = self.patches.forward(patches)?;
        let positions = self.positions.val().cast(self.dtype).unsqueeze();
        let mut x = x + positions;
        for (index, block) in self.blocks.iter().enumerate() {
            let dropped = dropped.map(|path| (path, index));
            x = block.forward(x, &self.config, dropped)?;
        }
        Ok(x)
    }

    /// Logits of the classes, F32 `[batch, classes]`, of what [`features`](Self::features) gives.
    ///
    /// # Errors
    /// [`VisionError::Operation`] for features of another width.
    pub fn classify(&self, features: Tensor<3>) -> Result<Tensor<2>, VisionError> {
        let mean = features.cast(DType::F32).mean_dim(1).squeeze_dim::<2>(1);
        Ok(self.head.forward(normalise(&self.norm, mean))?)
    }

    /// Logits of the classes, F32 `[batch, classes]`.
    ///
    /// # Errors
    /// As [`features`](Self::features).
    pub fn logits(&self, images: Tensor<4>) -> Result<Tensor<2>, VisionError> {
        self.classify(self.features(images)?)
    }

    /// Images as rows of patches, `[batch, tokens, channels · size²]`: of a patch, channel by channel, rows
    /// from top to bottom.
    fn cut(&self, images: Tensor<4>) -> Result<Tensor<3>, VisionError> {
        let [batch, channels, height, width] = images.dims();
        let (found, expected) = ([channels, height, width], self.config.image_shape());
        if found != expected {
            return Err(VisionError::ImageShape { found, expected });
        }
        if batch == 0 {
            return Err(VisionError::NoImages);
        }
        let patch = self.config.patch_size;
        let side = height / patch;
        let cut = images.cast(self.dtype);
        let cut = cut.reshape([batch, channels, side, patch, side, patch]);
        let cut: Tensor<6> = cut.permute([0, 2, 4, 1, 3, 5]);
        Ok(cut.reshape([batch, side * side, self.config.patch_values()]))
    }
}
