//! The trainable decoder: what is trained is what is served.

mod agreement;
mod bad_input;
mod saving;
mod training;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use tritburn_models::BitNetConfig;
use tritburn_models::config::Quantization;
use tritburn_models::trainable::{TrainableModel, TrainableOptions};

/// Sizes that every format can hold: grouped heads, tied tables.
fn config() -> BitNetConfig {
    BitNetConfig {
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
        ..BitNetConfig::b1_58_2b_4t()
    }
}

/// A model of random weights and gains, on the autodiff twin of `device`.
fn model(config: &BitNetConfig, device: &Device) -> TrainableModel {
    let device = device.clone().autodiff();
    device.seed(7);
    let model = TrainableModel::new(config, &TrainableOptions::default(), &device).unwrap();
    model.map(&mut RandomGains)
}

/// Fresh gains are 1, which would hide one that is forgotten.
struct RandomGains;

impl ModuleMapper for RandomGains {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| match D {
            1 => {
                let gains = value.random_like(Distribution::Uniform(0.75, 1.25));
                (value * gains).detach().require_grad()
            }
            _ => value,
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
