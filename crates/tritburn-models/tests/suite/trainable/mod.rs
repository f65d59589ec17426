//! The trainable decoder: what is trained is what is served.

mod agreement;
mod bad_input;
mod saving;
mod training;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use tritburn_models::DecoderConfig;
use tritburn_models::config::Quantization;
use tritburn_models::trainable::{TrainableModel, TrainableOptions};

use crate::common::Numbers;

/// Sizes that every format can hold: grouped heads, tied tables.
fn config() -> DecoderConfig {
    DecoderConfig {
        vocab_size: 256,
        hidden_size: 128,
        intermediate_size: 384,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 32,
        max_position_embeddings: 64,
        rope_theta: 10_000.0,
        initializer_range: 0.1,
        bos_token_id: None,
        eos_token_ids: Vec::new(),
        quantization: Quantization::Online,
        ..DecoderConfig::b1_58_2b_4t()
    }
}

/// A model of random weights and gains, on the autodiff twin of `device`: the same in every run,
/// whatever else draws numbers on the device meanwhile.
fn model(config: &DecoderConfig, device: &Device) -> TrainableModel {
    let device = device.clone().autodiff();
    let model = TrainableModel::new(config, &TrainableOptions::default(), &device).unwrap();
    model.map(&mut Redraw::new(config, 7))
}

/// Draws every parameter again: gains around 1, since 1 would hide one that is forgotten.
struct Redraw {
    numbers: Numbers,
    tables: (usize, f32),
}

impl Redraw {
    fn new(config: &DecoderConfig, seed: u64) -> Self {
        // Uniform numbers of the tables' standard deviation.
        let bound = config.initializer_range as f32 * 3f32.sqrt();
        Self {
            numbers: Numbers(seed),
            tables: (config.vocab_size, bound),
        }
    }
}

impl ModuleMapper for Redraw {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| {
            let dims = value.dims();
            let (middle, bound) = match dims[..] {
                [_] => (1.0, 0.25),
                [rows, _] if rows == self.tables.0 => (0.0, self.tables.1),
                [.., inputs] => (0.0, (1.0 / inputs as f32).sqrt()),
                [] => (0.0, 0.0),
            };
            let values: Vec<f32> = (0..dims.iter().product())
                .map(|_| middle + bound * self.numbers.next())
                .collect();
            let data = TensorData::new(values, dims);
            Tensor::from_data(data, &value.device()).require_grad()
        })
    }
}

/// `count` ids below `vocabulary`, in an order that repeats late.
fn ids(count: usize, vocabulary: usize) -> Vec<u32> {
    let ids = (0..count).map(|i| (i * i * 7 + i * 31 + 5) % vocabulary);
    ids.map(|id| id as u32).collect()
}

/// Ids as a batch of sequences of one length.
fn batch(sequences: &[&[u32]], device: &Device) -> Tensor<2, Int> {
    let values: Vec<i32> = sequences
        .iter()
        .flat_map(|ids| ids.iter().map(|&id| id as i32))
        .collect();
    let shape = [sequences.len(), sequences[0].len()];
    Tensor::from_data(TensorData::new(values, shape), device)
}
