//! Models of any size without a file: weights that are made up on demand.

use std::ops::Range;

use half::bf16;
use rayon::prelude::*;
use tritburn_formats::layout::WEIGHTS_PER_WORD;
use tritburn_formats::{PackedLayout, PackedMatrix, ScaleGranularity, WeightCode};

use super::source::{check_layer, check_rows};
use super::{Checkpoint, CheckpointError, FloatTensorData, FloatType};
use super::{Norm, Projection, Table, Weight};
use crate::config::{ConfigError, DecoderConfig, LinearClass, Quantization};
use crate::text::TokenizerFiles;

/// A packed model of random weights: for measuring, and for tests of real shapes.
///
/// Every tensor is a function of the seed and its role, so that reading one twice, or some rows of
/// the embedding, gives the same values. Codes are 0 in half of the weights, ±1 in a quarter each;
/// γ keeps the size of activations through a layer; norms are around 1, embeddings within ±1/16.
/// Scales, norms and embeddings fit bf16 and f16 exactly, so every format can hold them. There is
/// no tokenizer.
///
/// # Examples
///
/// ```
/// use tritburn_models::DecoderConfig;
/// use tritburn_models::checkpoint::{Checkpoint, Projection, Synthetic};
///
/// let model = Synthetic::new(DecoderConfig::tiny(), 1)?;
/// let weight = model.projection(0, Projection::Gate)?.into_packed("gate of layer 0")?;
/// assert_eq!((weight.layout().out_features(), weight.layout().in_features()), (384, 128));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Synthetic {
    config: DecoderConfig,
    seed: u64,
}

impl Synthetic {
    /// A model of the sizes of `config`. Its `quantization` is taken to be packed.
    ///
    /// # Errors
    /// [`ConfigError`], see [`DecoderConfig::validate`].
    pub fn new(config: DecoderConfig, seed: u64) -> Result<Self, ConfigError> {
        config.validate()?;
        let quantization = Quantization::Packed {
            linear_class: LinearClass::AutoBitLinear,
        };
        let config = DecoderConfig {
            quantization,
            ..config
        };
        Ok(Self { config, seed })
    }

    /// The random numbers of a tensor, by kind and number.
    fn numbers(&self, kind: u64, number: usize) -> Numbers {
        Numbers(mix(mix(self.seed) ^ (kind << 32 | number as u64)))
    }
}

/// Random numbers by index: the output function of SplitMix64 (Steele, Lea and Flood, "Fast
/// splittable pseudorandom number generators", 2014) over a counter.
#[derive(Clone, Copy)]
struct Numbers(u64);

impl Numbers {
    fn at(self, index: usize) -> u64 {
        mix(self
            .0
            .wrapping_add((index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// Sixteen ternary codes of 32 random bits: the invalid code 3 becomes 1, a zero weight.
fn codes(random: u32) -> u32 {
    let threes = random & random >> 1 & 0x5555_5555;
    random & !(threes << 1)
}

impl Checkpoint for Synthetic {
    fn format(&self) -> &'static str {
        "synthetic"
    }

    fn config(&self) -> &DecoderConfig {
        &self.config
    }

    fn stored_bytes(&self) -> u64 {
        0
    }

    fn norm(&self, norm: Norm) -> Result<Vec<f32>, CheckpointError> {
        let (kind, layer) = match norm {
            Norm::Input(i) => (0, i),
            Norm::PostAttention(i) => (1, i),
            Norm::AttentionSub(i) => (2, i),
            Norm::FfnSub(i) => (3, i),
            Norm::Final => (4, 0),
            Norm::Query(i) => (7, i),
            Norm::Key(i) => (8, i),
            Norm::AttentionResult(i) => (9, i),
            Norm::FfnResult(i) => (10, i),
            Norm::Projection(i, projection) => (32 + projection as u64, i),
        };
        if let Some(layer) = norm.layer() {
            check_layer(layer, self.config.num_hidden_layers)?;
        }
        let numbers = self.numbers(kind, layer);
        // 0.875 to 1.125 in steps of 1/64.
        let value = |i| 0.875 + (numbers.at(i) % 17) as f32 / 64.0;
        Ok((0..self.config.norm_size(norm)).map(value).collect())
    }

    /// Within ±1/16, in steps of 1/128.
    fn bias(
        &self,
        layer: usize,
        projection: Projection,
    ) -> Result<Option<Vec<f32>>, CheckpointError> {
        check_layer(layer, self.config.num_hidden_layers)?;
        let numbers = self.numbers(48 + projection as u64, layer);
        let value = |i| ((numbers.at(i) % 17) as f32 - 8.0) / 128.0;
        let [rows, _] = self.config.projection_shape(projection);
        let bias = self.config.has_bias(projection);
        Ok(bias.then(|| (0..rows).map(value).collect()))
    }

    fn table_type(&self, _: Table) -> FloatType {
        FloatType::BF16
    }

    fn table_rows(
        &self,
        table: Table,
        rows: Range<usize>,
    ) -> Result<FloatTensorData, CheckpointError> {
        check_rows(&rows, self.config.vocab_size)?;
        let kind = match table {
            Table::Embedding => 5,
            Table::Head => 6,
        };
        let width = self.config.hidden_size;
        // A byte a value: -128..=127 in steps of 2⁻¹¹.
        let values: Vec<[u8; 2]> = (-128..128i16)
            .map(|v| bf16::from_f32(v as f32 / 2048.0).to_le_bytes())
            .collect();
        let numbers = self.numbers(kind, 0);
        let mut bytes = vec![0; rows.len() * width * 2];
        bytes
            .par_chunks_mut(width * 2)
            .zip(rows.clone())
            .for_each(|(row, number)| {
                let first = number * width.div_ceil(8);
                for (i, eight) in row.chunks_mut(16).enumerate() {
                    let random = numbers.at(first + i).to_le_bytes();
                    for (value, random) in eight.as_chunks_mut::<2>().0.iter_mut().zip(random) {
                        *value = values[random as usize];
                    }
                }
            });
        Ok(FloatTensorData {
            dtype: FloatType::BF16,
            shape: vec![rows.len(), width],
            bytes,
        })
    }

    fn projection(&self, layer: usize, projection: Projection) -> Result<Weight, CheckpointError> {
        check_layer(layer, self.config.num_hidden_layers)?;
        let [out, input] = self.config.projection_shape(projection);
        let numbers = self.numbers(16 + projection as u64, layer);
        let name = || format!("layer {layer}, {projection}");
        let (code, scale) = (WeightCode::Ternary, ScaleGranularity::Tensor);
        let layout =
            PackedLayout::new(out, input, code, scale).map_err(|e| CheckpointError::Pack {
                tensor: name(),
                source: e.into(),
            })?;
        let width = layout.words_per_row();
        let in_last = input - (width - 1) * WEIGHTS_PER_WORD;
        let mask = u32::MAX >> (32 - 2 * in_last);
        let mut words = vec![0; layout.word_count()];
        words
            .par_chunks_mut(width)
            .enumerate()
            .for_each(|(row, words)| {
                for (i, pair) in words.chunks_mut(2).enumerate() {
                    let random = numbers.at(row * width.div_ceil(2) + i);
                    pair[0] = codes(random as u32);
                    if let Some(second) = pair.get_mut(1) {
                        *second = codes((random >> 32) as u32);
                    }
                }
                // Padding is code 1.
                words[width - 1] = words[width - 1] & mask | 0x5555_5555 & !mask;
            });
        // Half of the weights count: sums of `in` unit inputs have a variance of `in / 2`.
        let spread = 0.75 + (numbers.at(usize::MAX) % 64) as f32 / 128.0;
        let gamma = bf16::from_f32(spread * (2.0 / input as f32).sqrt()).to_f32();
        let matrix = PackedMatrix::new(layout, words, vec![gamma]);
        Ok(Weight::Packed(
            matrix.map_err(CheckpointError::pack(&name()))?,
        ))
    }

    fn tokenizer(&self) -> Result<TokenizerFiles, CheckpointError> {
        Ok(TokenizerFiles::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> Synthetic {
        let config = DecoderConfig {
            vocab_size: 70,
            hidden_size: 36,
            intermediate_size: 50,
            num_hidden_layers: 2,
            num_attention_heads: 6,
            num_key_value_heads: 3,
            head_dim: 6,
            bos_token_id: None,
            eos_token_ids: Vec::new(),
            ..DecoderConfig::b1_58_2b_4t()
        };
        Synthetic::new(config, 3).unwrap()
    }

    fn packed(model: &Synthetic, layer: usize, projection: Projection) -> PackedMatrix {
        match model.projection(layer, projection).unwrap() {
            Weight::Packed(matrix) => matrix,
            _ => panic!("synthetic models are packed"),
        }
    }

    #[test]
    fn some_rows_of_the_embedding_are_those_of_the_whole() {
        let model = tiny();
        let whole = model.embedding().unwrap();
        let some = model.table_rows(Table::Embedding, 13..31).unwrap();
        assert_eq!(some.bytes, whole.bytes[13 * 72..31 * 72]);
        assert_ne!(whole, model.table_rows(Table::Head, 0..70).unwrap());
        let (exact, lost) = whole.convert(FloatType::F16);
        assert_eq!(lost, 0);
        assert!(exact.to_f32().iter().any(|&v| v != 0.0));
    }

    #[test]
    fn tensors_differ_by_role_layer_and_seed_and_by_nothing_else() {
        let model = tiny();
        let gate = packed(&model, 0, Projection::Gate);
        assert_eq!(gate, packed(&model, 0, Projection::Gate));
        assert_ne!(gate.words(), packed(&model, 0, Projection::Up).words());
        assert_ne!(gate.words(), packed(&model, 1, Projection::Gate).words());
        let other = Synthetic::new(model.config().clone(), 4).unwrap();
        assert_ne!(gate.words(), packed(&other, 0, Projection::Gate).words());
        assert_ne!(
            model.norm(Norm::Input(0)).unwrap(),
            model.norm(Norm::Input(1)).unwrap()
        );
    }

    #[test]
    fn codes_are_zero_in_half_of_the_weights() {
        let config = DecoderConfig {
            intermediate_size: 4000,
            ..tiny().config
        };
        let down = packed(&Synthetic::new(config, 9).unwrap(), 1, Projection::Down);
        let codes = down.codes();
        let share = |code| codes.iter().filter(|&&c| c == code).count() as f64 / 144_000.0;
        // Five standard deviations of a share are 0.007 at most.
        for (code, expected) in [(0, 0.25), (1, 0.5), (2, 0.25)] {
            assert!(
                (share(code) - expected).abs() < 0.007,
                "{code}: {}",
                share(code)
            );
        }
        assert_eq!(
            down.words()[249] >> 31 & 1,
            0,
            "4000 inputs fill their words"
        );
        let padded = packed(&tiny(), 0, Projection::Down);
        assert_eq!(
            padded.words()[3] >> 4,
            0x0555_5555,
            "14 of 16 fields are padding"
        );
    }

    #[test]
    fn layers_and_rows_that_are_not_there_are_errors() {
        let model = tiny();
        assert!(matches!(
            model.projection(2, Projection::Q),
            Err(CheckpointError::Layer {
                layer: 2,
                layers: 2
            })
        ));
        assert!(model.norm(Norm::FfnSub(2)).is_err());
        assert!(model.table_rows(Table::Embedding, 60..71).is_err());
    }
}
