//! The model of this program: sizes for a decoder of `tritburn-models`.

use std::path::PathBuf;

use burn::config::Config;
use burn::tensor::{DType, Device};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tritburn_models::checkpoint::{self, Checkpoint, CheckpointError};
use tritburn_models::config::Quantization;
use tritburn_models::trainable::{Distillation, TrainableError, TrainableOptions};
use tritburn_models::{DecoderConfig, TrainableModel};

/// Standard deviation of the fresh embedding. Small, because it is the output layer too.
const EMBEDDING_STD: f64 = 0.02;

/// Sizes of the model; the defaults train in minutes on two CPU cores.
#[derive(Config, Debug, PartialEq)]
pub struct ModelConfig {
    /// Width of the residual stream.
    #[config(default = 128)]
    pub d_model: usize,
    /// Inner width of the feed-forward part.
    #[config(default = 384)]
    pub d_ff: usize,
    /// Number of layers.
    #[config(default = 4)]
    pub layers: usize,
    /// Number of attention heads; divides `d_model` into heads of even width.
    #[config(default = 4)]
    pub heads: usize,
    /// Number of distinct tokens: 256 for bytes. A training takes it from its tokenizer.
    #[config(default = 256)]
    pub vocabulary: usize,
    /// Number of tokens the model sees at once.
    #[config(default = 128)]
    pub context: usize,
    /// Base of the rotary frequencies.
    #[config(default = 10000.0)]
    pub rope_theta: f64,
    /// ε of the RMSNorms.
    #[config(default = 1e-5)]
    pub norm_eps: f64,
    /// Float projections in place of the ternary ones: the float twin.
    #[config(default = false)]
    pub dense: bool,
    /// Type of the activations; without one, what the device trains best in.
    pub dtype: Option<ActivationType>,
}

/// Type of the activations; weights and optimizer are f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActivationType {
    /// 32 bits.
    F32,
    /// bfloat16.
    Bf16,
}

/// A model to fine-tune.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BaseModel {
    /// Folder or file with its float weights.
    pub path: PathBuf,
    /// Whether a plain float model becomes a ternary one.
    pub ternarize: bool,
}

impl BaseModel {
    /// The model's files.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn open(&self) -> Result<Box<dyn Checkpoint>, CheckpointError> {
        checkpoint::open(&self.path)
    }

    /// The model on an autodiff device, with activations as `config` has them.
    ///
    /// # Errors
    /// [`TrainableError`], for a model that has no float weights above all.
    pub fn load(
        &self,
        config: &ModelConfig,
        device: &Device,
    ) -> Result<TrainableModel, TrainableError> {
        let checkpoint = self.open()?;
        let options = TrainableOptions {
            ternarize: self.ternarize,
            ..config.options(device)
        };
        TrainableModel::from_checkpoint(checkpoint.as_ref(), &options, device)
    }
}

/// A model to learn from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TeacherModel {
    /// Its folder or file, packed or not.
    pub path: PathBuf,
    /// Factor of the divergence from it.
    pub weight: f32,
    /// What the logits of both are divided by.
    pub temperature: f32,
}

impl TeacherModel {
    /// The model, without gradients.
    ///
    /// # Errors
    /// [`TrainableError`].
    pub fn load(
        &self,
        config: &ModelConfig,
        device: &Device,
    ) -> Result<(TrainableModel, Distillation), TrainableError> {
        let checkpoint = checkpoint::open(&self.path)?;
        let options = TrainableOptions {
            unpack: true,
            ..config.options(device)
        };
        let model = TrainableModel::from_checkpoint(checkpoint.as_ref(), &options, device)?;
        let distillation = Distillation {
            temperature: self.temperature,
            weight: self.weight,
        };
        Ok((model, distillation))
    }
}

impl ModelConfig {
    /// The sizes of a model to fine-tune, as far as these name them.
    pub fn of_base(base: &DecoderConfig, ternarize: bool, context: usize) -> Self {
        Self {
            d_model: base.hidden_size,
            d_ff: base.intermediate_size,
            layers: base.num_hidden_layers,
            heads: base.num_attention_heads,
            vocabulary: base.vocab_size,
            context,
            rope_theta: base.rope_theta,
            norm_eps: base.rms_norm_eps,
            dense: !base.quantization.is_ternary() && !ternarize,
            dtype: None,
        }
    }

    fn options(&self, device: &Device) -> TrainableOptions {
        let mut options = TrainableOptions::for_device(device);
        options.dtype = match self.dtype {
            None => options.dtype,
            Some(ActivationType::F32) => DType::F32,
            Some(ActivationType::Bf16) => DType::BF16,
        };
        options
    }

    /// Initialises the model on `device`.
    ///
    /// # Errors
    /// [`ConfigError`] if the sizes do not make a model.
    pub fn init(&self, device: &Device) -> Result<TrainableModel, ConfigError> {
        self.validate()?;
        let options = self.options(device);
        Ok(TrainableModel::new(&self.decoder(), &options, device)?)
    }

    /// The architecture of BitNet b1.58 2B4T (arXiv 2504.12285) in these sizes.
    pub fn decoder(&self) -> DecoderConfig {
        DecoderConfig {
            vocab_size: self.vocabulary,
            hidden_size: self.d_model,
            intermediate_size: self.d_ff,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            num_key_value_heads: self.heads,
            head_dim: self.d_model / self.heads.max(1),
            max_position_embeddings: self.context,
            rms_norm_eps: self.norm_eps,
            rope_theta: self.rope_theta,
            tie_word_embeddings: true,
            initializer_range: EMBEDDING_STD,
            bos_token_id: None,
            eos_token_ids: Vec::new(),
            pad_token_id: None,
            quantization: match self.dense {
                true => Quantization::Dense,
                false => Quantization::Online,
            },
            ..DecoderConfig::b1_58_2b_4t()
        }
    }

    /// Checks the sizes.
    ///
    /// # Errors
    /// [`ConfigError`], naming the size that is wrong.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let sizes = [
            ("d_model", self.d_model),
            ("d_ff", self.d_ff),
            ("layers", self.layers),
            ("heads", self.heads),
        ];
        if let Some((name, _)) = sizes.into_iter().find(|(_, size)| *size == 0) {
            return Err(ConfigError::Zero { name });
        }
        if self.context < 2 {
            return Err(ConfigError::Context {
                context: self.context,
            });
        }
        let (d_model, heads) = (self.d_model, self.heads);
        // Rotary embeddings turn pairs of features.
        if !d_model.is_multiple_of(2 * heads) {
            return Err(ConfigError::Heads { d_model, heads });
        }
        Ok(self.decoder().validate().map_err(TrainableError::from)?)
    }
}

/// Sizes that do not make a model.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A size is zero.
    #[error("the model's {name} is 0")]
    Zero {
        /// Name of the size.
        name: &'static str,
    },
    /// The context leaves nothing to predict from.
    #[error("a context of {context} tokens is too short: at least 2 are needed")]
    Context {
        /// The context asked for.
        context: usize,
    },
    /// The heads do not divide the width evenly.
    #[error("d_model {d_model} does not split into {heads} heads of an even width")]
    Heads {
        /// Width of the residual stream.
        d_model: usize,
        /// Number of heads.
        heads: usize,
    },
    /// No decoder has these sizes, or the device cannot run it.
    #[error(transparent)]
    Decoder(#[from] TrainableError),
}
