//! The architecture of a vision transformer, and what its classes are.

use burn::tensor::Tensor;
use burn::tensor::activation::{sigmoid, softmax};
use serde::{Deserialize, Serialize};
use tritburn::training::Heads;

use super::error::{ConfigProblem, VisionError};

/// What `model_type` says in `config.json`.
pub(super) const MODEL_TYPE: &str = "tritburn-vit";

/// Largest size that a configuration may have: one from outside cannot ask for all memory.
const LARGEST: usize = 1 << 16;
/// Most layers, and most tokens of an image.
const MOST_LAYERS: usize = 1 << 10;
const MOST_TOKENS: usize = 1 << 18;

/// Which projections have ternary weights and int8 inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TernaryLayers {
    /// None: the float twin.
    None,
    /// Those of the feed-forward parts.
    #[default]
    FeedForward,
    /// Those of attention as well: all but the patch embedding and the head. The output projection of
    /// attention has a norm inside then.
    All,
}

/// How many classes an image has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Labelling {
    /// One of them: probabilities are a softmax.
    #[default]
    Single,
    /// Any number: each class has a probability of its own.
    Multi,
}

/// Sizes of a [`VisionTransformer`](super::VisionTransformer), its classes, and how pixels become its input.
/// `config.json` is this and `model_type`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VisionConfig {
    /// Height and width of an image in pixels.
    pub image_size: usize,
    /// Height and width of a patch in pixels; divides `image_size`.
    pub patch_size: usize,
    /// 1 for grey images, 3 for colour.
    pub num_channels: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Number of query heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Number of key-value heads, 1 for multi-query attention; divides `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// Inner width of the feed-forward parts.
    pub intermediate_size: usize,
    /// Which projections are ternary.
    #[serde(default)]
    pub ternary: TernaryLayers,
    /// Whether a patch sees only those before it, row by row. Images have no such order; a model that was
    /// trained so needs it.
    #[serde(default)]
    pub causal: bool,
    /// ε of all norms.
    pub norm_eps: f64,
    /// How many classes an image has.
    #[serde(default)]
    pub labelling: Labelling,
    /// Names of the classes.
    pub labels: Vec<String>,
    /// What is subtracted from each channel, whose pixels are between 0 and 1.
    pub mean: Vec<f32>,
    /// What each channel is divided by then.
    pub std: Vec<f32>,
}

impl VisionConfig {
    /// BitMedViT's sizes (arXiv 2510.13760): images of 224, patches of 7, three blocks of 512 with eight
    /// query heads, 2048 inside; feed-forward parts are ternary.
    pub fn new<L: Into<String>>(channels: usize, labels: impl IntoIterator<Item = L>) -> Self {
        Self {
            image_size: 224,
            patch_size: 7,
            num_channels: channels,
            hidden_size: 512,
            num_hidden_layers: 3,
            num_attention_heads: 8,
            num_key_value_heads: 1,
            intermediate_size: 2048,
            ternary: TernaryLayers::FeedForward,
            causal: false,
            norm_eps: 1e-5,
            labelling: Labelling::Single,
            labels: labels.into_iter().map(Into::into).collect(),
            mean: vec![0.5; channels],
            std: vec![0.5; channels],
        }
    }

    /// Number of classes.
    pub fn num_classes(&self) -> usize {
        self.labels.len()
    }

    /// Patches of an image.
    pub fn tokens(&self) -> usize {
        let side = self.image_size / self.patch_size.max(1);
        side * side
    }

    /// Values of a patch.
    pub fn patch_values(&self) -> usize {
        self.num_channels * self.patch_size * self.patch_size
    }

    /// Values of an image, `[channels, height, width]`.
    pub fn image_shape(&self) -> [usize; 3] {
        [self.num_channels, self.image_size, self.image_size]
    }

    /// What logits `[batch, classes]` hold images for, row by row on the host: with one class an image a
    /// softmax over the classes, else a sigmoid of each.
    ///
    /// # Errors
    /// [`VisionError::Device`] if they cannot be read from the device.
    pub fn probabilities(&self, logits: Tensor<2>) -> Result<Vec<f32>, VisionError> {
        let probabilities = match self.labelling {
            Labelling::Single => softmax(logits, 1),
            Labelling::Multi => sigmoid(logits),
        };
        let values = probabilities.try_into_vec_as::<f32>();
        values.map_err(|error| VisionError::Device {
            reason: error.to_string(),
        })
    }

    /// The heads of attention.
    pub(super) fn heads(&self) -> Heads {
        Heads {
            query: self.num_attention_heads,
            key_value: self.num_key_value_heads,
            size: self.hidden_size / self.num_attention_heads.max(1),
        }
    }

    /// Checks what can be wrong with sizes and classes.
    ///
    /// # Errors
    /// [`ConfigProblem`], the first one found.
    pub fn validate(&self) -> Result<(), ConfigProblem> {
        for (name, found, most) in [
            ("image_size", self.image_size, LARGEST),
            ("patch_size", self.patch_size, LARGEST),
            ("hidden_size", self.hidden_size, LARGEST),
            ("num_hidden_layers", self.num_hidden_layers, MOST_LAYERS),
            ("num_attention_heads", self.num_attention_heads, LARGEST),
            ("num_key_value_heads", self.num_key_value_heads, LARGEST),
            ("intermediate_size", self.intermediate_size, LARGEST),
            ("number of classes", self.num_classes(), LARGEST),
        ] {
            if found == 0 || found > most {
                return Err(ConfigProblem::Size { name, found, most });
            }
        }
        if !matches!(self.num_channels, 1 | 3) {
            return Err(ConfigProblem::Channels {
                found: self.num_channels,
            });
        }
        for (name, number, divisor_name, divisor) in [
            ("image_size", self.image_size, "patch_size", self.patch_size),
            (
                "hidden_size",
                self.hidden_size,
                "num_attention_heads",
                self.num_attention_heads,
            ),
            (
                "num_attention_heads",
                self.num_attention_heads,
                "num_key_value_heads",
                self.num_key_value_heads,
            ),
        ] {
            if !number.is_multiple_of(divisor) {
                return Err(ConfigProblem::Indivisible {
                    name,
                    number,
                    divisor_name,
                    divisor,
                });
            }
        }
        if self.tokens() > MOST_TOKENS {
            return Err(ConfigProblem::Size {
                name: "number of patches",
                found: self.tokens(),
                most: MOST_TOKENS,
            });
        }
        let multi = self.labelling == Labelling::Multi;
        if !multi && self.num_classes() < 2 {
            return Err(ConfigProblem::OneClass);
        }
        self.validate_numbers()
    }

    fn validate_numbers(&self) -> Result<(), ConfigProblem> {
        for (name, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.len() != self.num_channels {
                return Err(ConfigProblem::PerChannel {
                    name,
                    found: values.len(),
                    channels: self.num_channels,
                });
            }
        }
        let means = self
            .mean
            .iter()
            .map(|&mean| ("mean", mean, mean.is_finite()));
        let spreads = self.std.iter();
        let spreads = spreads.map(|&std| ("std", std, std.is_finite() && std > 0.0));
        let eps = self.norm_eps as f32;
        let eps = std::iter::once(("norm_eps", eps, eps.is_finite() && eps > 0.0));
        match means.chain(spreads).chain(eps).find(|(.., sound)| !sound) {
            Some((name, value, _)) => Err(ConfigProblem::Number { name, value }),
            None => Ok(()),
        }
    }
}
