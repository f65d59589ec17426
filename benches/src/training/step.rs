//! Forward, backward, clipping and optimiser of a whole model.

use std::time::Instant;

use anyhow::Result;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Distribution, Int, Tensor};
use tritburn::optim::{AdamWConfig, GlobalNormClip};
use tritburn_models::DecoderConfig;
use tritburn_models::config::Quantization;
use tritburn_models::trainable::{TrainableModel, TrainableOptions};

use super::case::{Model, Variant};
use super::{Measured, Options, Repeats};

/// Repetitions of a model of at most 200 M parameters, and of a larger one.
const REPEATS: [usize; 2] = [50, 10];

/// A step on one batch of random tokens, over and over.
///
/// # Errors
/// A model that the device cannot run.
pub fn measure(options: &Options, model: &Model, variant: Variant) -> Result<Measured> {
    let begun = Instant::now();
    let device = options.device.clone().autodiff();
    device.seed(0);
    let how = TrainableOptions::for_device(&device);
    let mut trained = Some(TrainableModel::new(&config(model, variant), &how, &device)?);
    let adamw = AdamWConfig::new().with_beta_2(0.95).with_epsilon(1e-8);
    let clip = GlobalNormClip::new(1.0);
    let mut optimizer = ModuleOptimizer::from(adamw.build().with_clip(clip.clone()));
    let tokens = || {
        let range = Distribution::Uniform(0.0, model.vocabulary as f64);
        Tensor::<2, Int>::random([model.batch_size, model.context], range, &device)
    };
    let (inputs, targets) = (tokens(), tokens());
    let large = model.d_model * model.d_ff * model.layers > 50_000_000;
    let repeats = Repeats::of(options, REPEATS[usize::from(large)]);
    repeats.measure(options.device, begun, || {
        let Some(model) = trained.take() else {
            return Ok(());
        };
        let loss = model.loss(inputs.clone(), targets.clone())?;
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        clip.measure(&gradients, &model);
        trained = Some(optimizer.step(1e-3, model, gradients));
        Ok(())
    })
}

fn config(model: &Model, variant: Variant) -> DecoderConfig {
    DecoderConfig {
        vocab_size: model.vocabulary,
        hidden_size: model.d_model,
        intermediate_size: model.d_ff,
        num_hidden_layers: model.layers,
        num_attention_heads: model.heads,
        num_key_value_heads: model.heads,
        head_dim: model.d_model / model.heads,
        max_position_embeddings: model.context,
        tie_word_embeddings: true,
        bos_token_id: None,
        eos_token_ids: Vec::new(),
        pad_token_id: None,
        quantization: match variant {
            Variant::Ternary => Quantization::Online,
            Variant::Dense => Quantization::Dense,
        },
        ..DecoderConfig::b1_58_2b_4t()
    }
}
