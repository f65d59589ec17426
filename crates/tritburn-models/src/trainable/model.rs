//! The whole decoder.

use burn::module::{Initializer, Module, ModuleVisitor, Param};
use burn::nn::RmsNorm;
use burn::tensor::{DType, Device, Int, IntDType, Tensor};
use tritburn::training::{
    Heads, LossConfig, embedding, linear_cross_entropy, rms_norm, scaled_rotary_table,
};

use super::error::TrainableError;
use super::layer::TrainableLayer;
use super::options::TrainableOptions;
use super::projection::{norm, operand};
use crate::config::{Biases, DecoderConfig, Multipliers, Quantization};

/// A decoder-only language model that trains.
///
/// Made with [`new`](Self::new) or [`from_checkpoint`](Self::from_checkpoint). On an autodiff device its
/// parameters have gradients; `valid()` and `tritburn::Pack` work on it as on any module. Projections
/// are ternary, or plain float ones where [`DecoderConfig::quantization`] is [`Quantization::Dense`]: the
/// float twin of the same sizes.
#[derive(Module, Debug)]
pub struct TrainableModel {
    /// `[vocab_size, hidden_size]`; also the output layer, where they are tied.
    pub(super) embedding: Param<Tensor<2>>,
    pub(super) layers: Vec<TrainableLayer>,
    pub(super) norm: RmsNorm,
    /// Output layer `[vocab_size, hidden_size]`, where it is not the embedding.
    pub(super) head: Option<Param<Tensor<2>>>,
    rotary: Tensor<1>,
    #[module(skip)]
    config: DecoderConfig,
    #[module(skip)]
    dtype: DType,
}

impl TrainableModel {
    /// A model of random weights on `device`; `Device::seed` fixes them. Tables have the standard
    /// deviation `initializer_range`, projections are uniform, gains are 1.
    ///
    /// # Errors
    /// [`TrainableError::Config`] for sizes that do not fit each other,
    /// [`TrainableError::ActivationType`], [`TrainableError::Operation`] for a device that cannot run
    /// the layers.
    pub fn new(
        config: &DecoderConfig,
        options: &TrainableOptions,
        device: &Device,
    ) -> Result<Self, TrainableError> {
        config.validate()?;
        for (present, part) in [
            (config.head_norms, "norms of query and key heads"),
            (config.post_norms, "norms behind attention and feed-forward"),
            (config.sliding.is_some(), "sliding layers"),
            (
                config.projection_norm_eps.is_some(),
                "a norm in every projection",
            ),
            (config.biases != Biases::default(), "biases"),
            (
                config.multipliers != Multipliers::default(),
                "constant multipliers",
            ),
            (
                config.rotary_dim() != config.head_dim,
                "heads that are rotated in part",
            ),
        ] {
            if present {
                return Err(TrainableError::Untrainable { part });
            }
        }
        if !matches!(options.dtype, DType::F32 | DType::BF16 | DType::F16) {
            return Err(TrainableError::ActivationType {
                found: options.dtype,
            });
        }
        let table = || {
            let fresh = Initializer::Normal {
                mean: 0.0,
                std: config.initializer_range,
            };
            fresh.init([config.vocab_size, config.hidden_size], device)
        };
        let layers = (0..config.num_hidden_layers).map(|_| TrainableLayer::new(config, device));
        let quantization = match config.quantization.is_ternary() {
            true => Quantization::Online,
            false => Quantization::Dense,
        };
        Ok(Self {
            embedding: table(),
            layers: layers.collect::<Result<_, _>>()?,
            norm: norm(config, config.hidden_size, device),
            head: (!config.tie_word_embeddings).then(table),
            rotary: scaled_rotary_table(
                &config.rotary_frequencies(config.max_position_embeddings),
                config.rope_scaling.attention_factor() as f32,
                config.max_position_embeddings,
                device,
            ),
            config: DecoderConfig {
                quantization,
                ..config.clone()
            },
            dtype: options.dtype,
        })
    }

    /// The architecture; its quantisation is that of a saved folder.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Element type of the residual stream and of activations.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Paths in this module of the matrices of all layers, without tables and norms: what Muon and its
    /// kind are for. Unlike ids of parameters, they are the same in a model that is loaded again.
    pub fn layer_matrices(&self) -> Vec<String> {
        let mut matrices = LayerMatrices::default();
        self.visit(&mut matrices);
        matrices.found
    }

    /// Where the parameters are.
    pub fn device(&self) -> Device {
        self.embedding.lazy_device()
    }

    /// Normalised hidden states behind the last layer, what the output layer reads.
    ///
    /// # Shapes
    /// `ids` `[batch, length]`; one that is not below `vocab_size` gives NaN. Returns
    /// `[batch, length, hidden_size]` in the model's [`dtype`](Self::dtype).
    ///
    /// # Errors
    /// [`TrainableError::Length`] for sequences longer than `max_position_embeddings`,
    /// [`TrainableError::Operation`] for ids on another device, and on CubeCL devices for heads whose
    /// width is over 256.
    pub fn hidden(&self, ids: Tensor<2, Int>) -> Result<Tensor<3>, TrainableError> {
        self.hidden_by(ids, 1.0)
    }

    /// The same, quantised by `share`.
    fn hidden_by(&self, ids: Tensor<2, Int>, share: f32) -> Result<Tensor<3>, TrainableError> {
        let [_, found] = ids.dims();
        let available = self.config.max_position_embeddings;
        if found > available {
            return Err(TrainableError::Length { found, available });
        }
        let ids = ids.cast(IntDType::U32);
        let mut x = embedding(self.embedding.val(), ids, self.dtype)?;
        for layer in &self.layers {
            x = layer.forward(x, &self.rotary, self.heads(), share)?;
        }
        Ok(rms_norm(x, operand(&self.norm))?)
    }

    /// Logits of the token after each token: F32 `[batch, length, vocab_size]`. Training needs
    /// [`loss`](Self::loss) only.
    ///
    /// # Errors
    /// As [`hidden`](Self::hidden).
    pub fn logits(&self, ids: Tensor<2, Int>) -> Result<Tensor<3>, TrainableError> {
        self.logits_by(ids, 1.0)
    }

    /// The same, quantised by `share`.
    pub(super) fn logits_by(
        &self,
        ids: Tensor<2, Int>,
        share: f32,
    ) -> Result<Tensor<3>, TrainableError> {
        let hidden = self.hidden_by(ids, share)?.cast(DType::F32);
        Ok(hidden.matmul(self.output_table().transpose().unsqueeze()))
    }

    /// Mean cross entropy, F32 `[1]` in nats a token, of predicting `targets` from `inputs`. Logits of all
    /// tokens, and scores of all pairs of them, never exist.
    ///
    /// # Shapes
    /// Both `[batch, length]`: a target for each input token, mostly the token after it.
    ///
    /// # Errors
    /// As [`hidden`](Self::hidden); [`TrainableError::Targets`], [`TrainableError::NoTokens`].
    pub fn loss(
        &self,
        inputs: Tensor<2, Int>,
        targets: Tensor<2, Int>,
    ) -> Result<Tensor<1>, TrainableError> {
        self.loss_with(inputs, targets, &LossConfig::default())
    }

    /// [`loss`](Self::loss) of some targets only, or with other terms: see [`LossConfig`].
    ///
    /// # Errors
    /// As [`loss`](Self::loss).
    pub fn loss_with(
        &self,
        inputs: Tensor<2, Int>,
        targets: Tensor<2, Int>,
        config: &LossConfig,
    ) -> Result<Tensor<1>, TrainableError> {
        self.loss_by(inputs, targets, config, 1.0)
    }

    /// [`loss_with`](Self::loss_with) of a model on its way from float to ternary: weights and inputs of
    /// the projections are `share` of the way from what they are to what they are quantised to. 0 is the
    /// float model, 1 the ternary one. A float model that is converted in one step loses what it knows;
    /// raised over the first third of the steps, or the first 1000, it keeps most of it (Hugging Face,
    /// "Fine-tuning LLMs to 1.58bit", 2024). Between 0 and 1 products are those of floats, and slower.
    ///
    /// # Errors
    /// As [`loss`](Self::loss).
    pub fn loss_by(
        &self,
        inputs: Tensor<2, Int>,
        targets: Tensor<2, Int>,
        config: &LossConfig,
        share: f32,
    ) -> Result<Tensor<1>, TrainableError> {
        let shape = inputs.dims();
        if targets.dims() != shape {
            return Err(TrainableError::Targets {
                inputs: shape,
                targets: targets.dims(),
            });
        }
        if shape.contains(&0) {
            return Err(TrainableError::NoTokens { inputs: shape });
        }
        let hidden = self.hidden_by(inputs, share)?.flatten::<2>(0, 1);
        let targets = targets.flatten::<1>(0, 1).cast(IntDType::U32);
        let table = self.output_table();
        Ok(linear_cross_entropy(hidden, table, targets, config)?)
    }

    fn output_table(&self) -> Tensor<2> {
        self.head.as_ref().unwrap_or(&self.embedding).val()
    }

    fn heads(&self) -> Heads {
        Heads {
            query: self.config.num_attention_heads,
            key_value: self.config.num_key_value_heads,
            size: self.config.head_dim,
        }
    }
}

/// Collects the paths of the matrices of layers.
#[derive(Default)]
struct LayerMatrices {
    path: Vec<String>,
    found: Vec<String>,
}

impl ModuleVisitor for LayerMatrices {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, _param: &Param<Tensor<D>>) {
        if D == 2 && self.path.first().is_some_and(|field| field == "layers") {
            self.found.push(self.path.join("."));
        }
    }
}
