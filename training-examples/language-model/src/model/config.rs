//! Sizes of the model.

use burn::config::Config;
use burn::nn::{RmsNorm, RmsNormConfig};
use burn::tensor::Device;
use thiserror::Error;

use super::LanguageModel;

/// Sizes of a [`LanguageModel`]; the defaults train in minutes on two CPU cores.
#[derive(Config, Debug, PartialEq)]
pub struct ModelConfig {
    /// Width of the residual stream.
    #[config(default = 128)]
    pub d_model: usize,
    /// Inner width of the feed-forward part.
    #[config(default = 384)]
    pub d_ff: usize,
    /// Number of blocks.
    #[config(default = 4)]
    pub layers: usize,
    /// Number of attention heads; divides `d_model` into heads of even width.
    #[config(default = 4)]
    pub heads: usize,
    /// Number of bytes the model sees at once.
    #[config(default = 128)]
    pub context: usize,
    /// Base of the rotary frequencies.
    #[config(default = 10000.0)]
    pub rope_theta: f32,
    /// ε of the RMSNorms.
    #[config(default = 1e-5)]
    pub norm_eps: f64,
    /// Ordinary float `Linear` layers in place of the ternary ones: the float twin.
    #[config(default = false)]
    pub dense: bool,
}

impl ModelConfig {
    /// Initialises the model on `device`.
    ///
    /// # Errors
    /// [`ConfigError`] if the sizes do not make a model.
    pub fn init(&self, device: &Device) -> Result<LanguageModel, ConfigError> {
        self.validate()?;
        LanguageModel::new(self, device)
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
        // Rotary encoding turns pairs of features.
        if !d_model.is_multiple_of(2 * heads) {
            return Err(ConfigError::Heads { d_model, heads });
        }
        Ok(())
    }

    /// Width of one attention head.
    pub fn head_width(&self) -> usize {
        self.d_model / self.heads
    }

    pub(super) fn norm(&self, width: usize, device: &Device) -> RmsNorm {
        RmsNormConfig::new(width)
            .with_epsilon(self.norm_eps)
            .init(device)
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
    #[error("a context of {context} bytes is too short: at least 2 are needed")]
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
    /// A ternary layer cannot have these sizes.
    #[error(transparent)]
    Layer(#[from] tritburn::Error),
}
