//! Writing text with a model.

use burn::tensor::{Int, Tensor, TensorData, TensorReadError};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::model::{DecodeState, LanguageModel};

/// How the next byte is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampling {
    /// Always the likeliest; of equally likely ones the first.
    Greedy,
    /// At random, as likely as the model finds it.
    Random {
        /// Below 1 sharpens the choice, above 1 flattens it; positive.
        temperature: f32,
        /// Only the likeliest so many bytes are in the choice; 0 means all.
        top_k: usize,
        /// Seed of the choice.
        seed: u64,
    },
}

/// The bytes with which `model` continues `prompt`; `length` of them.
///
/// The keys and values of earlier bytes are kept. When the context is full, its newer half is read
/// again as a context of its own: the model sees between half a context and a whole one. An empty
/// prompt counts as a line break.
///
/// # Errors
/// [`TensorReadError`] if the device fails.
pub fn generate(
    model: &LanguageModel,
    prompt: &[u8],
    length: usize,
    sampling: Sampling,
) -> Result<Vec<u8>, TensorReadError> {
    let context = model.context();
    let mut chooser = Chooser::new(sampling);
    let mut text = if prompt.is_empty() {
        b"\n".to_vec()
    } else {
        prompt.to_vec()
    };
    let begin = text.len();
    let mut state = model.start();
    let mut unread = text.len().min(context);
    while text.len() < begin + length {
        if state.len() + unread > context {
            state = model.start();
            unread = context / 2;
        }
        let logits = read(model, &text[text.len() - unread..], &mut state)?;
        text.push(chooser.choose(&logits));
        unread = 1;
    }
    Ok(text.split_off(begin))
}

/// Logits of the byte after `bytes`.
fn read(
    model: &LanguageModel,
    bytes: &[u8],
    state: &mut DecodeState,
) -> Result<Vec<f32>, TensorReadError> {
    let data: Vec<i32> = bytes.iter().map(|byte| i32::from(*byte)).collect();
    let bytes = TensorData::new(data, [1, bytes.len()]);
    let logits = model.decode(Tensor::<2, Int>::from_data(bytes, &model.device()), state);
    let [_, length, vocabulary] = logits.dims();
    let last = logits
        .slice([0..1, length - 1..length])
        .reshape([vocabulary]);
    last.try_into_vec_as::<f32>()
}

struct Chooser {
    sampling: Sampling,
    rng: StdRng,
}

impl Chooser {
    fn new(sampling: Sampling) -> Self {
        let seed = if let Sampling::Random { seed, .. } = sampling {
            seed
        } else {
            0
        };
        Self {
            sampling,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    fn choose(&mut self, logits: &[f32]) -> u8 {
        let mut ranked: Vec<usize> = (0..logits.len()).collect();
        // Stable, and total: logits that are no numbers do not upset it.
        ranked.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
        let index = match self.sampling {
            Sampling::Greedy => ranked[0],
            Sampling::Random {
                temperature, top_k, ..
            } => {
                let kept = if top_k == 0 {
                    logits.len()
                } else {
                    top_k.min(logits.len())
                };
                let best = logits[ranked[0]];
                let weight = |index: &usize| f64::from((logits[*index] - best) / temperature).exp();
                let weights: Vec<f64> = ranked[..kept].iter().map(weight).collect();
                let mut left = self.rng.random::<f64>() * weights.iter().sum::<f64>();
                let chosen = weights.iter().position(|weight| {
                    left -= weight;
                    left < 0.0
                });
                ranked[chosen.unwrap_or(0)]
            }
        };
        u8::try_from(index).expect("256 logits")
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::model::ModelConfig;

    fn model(context: usize) -> LanguageModel {
        let device = Device::default();
        device.seed(3);
        let config = ModelConfig::new()
            .with_d_model(32)
            .with_d_ff(48)
            .with_layers(2);
        config
            .with_context(context)
            .with_heads(2)
            .init(&device)
            .unwrap()
    }

    fn forward(model: &LanguageModel, text: &[u8]) -> Vec<f32> {
        let data: Vec<i32> = text.iter().map(|byte| i32::from(*byte)).collect();
        let data = TensorData::new(data, [1, text.len()]);
        let logits = model.forward(Tensor::<2, Int>::from_data(data, &model.device()));
        let length = text.len();
        logits
            .slice([0..1, length - 1..length])
            .into_data()
            .iter::<f32>()
            .collect()
    }

    #[test]
    fn reading_byte_by_byte_gives_the_logits_of_reading_at_once() {
        let model = model(16);
        let text = b"fn main() {}";
        let mut state = model.start();
        read(&model, &text[..4], &mut state).unwrap();
        for end in 5..=text.len() {
            let stepwise = read(&model, &text[end - 1..end], &mut state).unwrap();
            let at_once = forward(&model, &text[..end]);
            for (a, b) in stepwise.iter().zip(&at_once) {
                assert!((a - b).abs() < 1e-4, "{a} {b} at {end}");
            }
        }
        assert_eq!(state.len(), text.len());
    }

    #[test]
    fn greedy_text_runs_past_the_context_and_is_what_repeated_reading_gives() {
        let model = model(8);
        let prompt = b"let mut value";
        let written = generate(&model, prompt, 20, Sampling::Greedy).unwrap();
        let mut text = prompt.to_vec();
        let mut window = 8;
        for _ in 0..20 {
            let logits = forward(&model, &text[text.len() - window..]);
            text.push(Chooser::new(Sampling::Greedy).choose(&logits));
            window = if window == 8 { 4 } else { window + 1 };
        }
        assert_eq!(written, text[prompt.len()..]);
    }

    #[test]
    fn random_text_follows_from_its_seed() {
        let model = model(8);
        let write = |seed| {
            let sampling = Sampling::Random {
                temperature: 1.0,
                top_k: 0,
                seed,
            };
            generate(&model, b"", 16, sampling).unwrap()
        };
        assert_eq!(write(1), write(1));
        assert_ne!(write(1), write(2));
    }

    #[test]
    fn only_the_top_k_are_chosen_and_a_low_temperature_takes_the_best() {
        let mut logits = vec![0.0; 256];
        (logits[7], logits[9]) = (3.0, 2.0);
        let random = |temperature, top_k| Sampling::Random {
            temperature,
            top_k,
            seed: 5,
        };
        let draw = |sampling| {
            let mut chooser = Chooser::new(sampling);
            let mut drawn: Vec<u8> = (0..500).map(|_| chooser.choose(&logits)).collect();
            drawn.sort_unstable();
            drawn.dedup();
            drawn
        };
        assert_eq!(draw(random(1.0, 2)), [7, 9]);
        assert_eq!(draw(random(0.01, 0)), [7]);
        assert!(draw(random(1.0, 0)).len() > 50);
        assert_eq!(draw(Sampling::Greedy), [7]);
    }
}
