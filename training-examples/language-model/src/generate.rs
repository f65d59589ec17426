//! Writing text with a model that serves.

use std::ops::ControlFlow;
use std::sync::Arc;

use tritburn_models::CausalLm;
use tritburn_models::generate::{GenerationOptions, Session};
use tritburn_models::model::ModelError;
use tritburn_models::sample::Sampling;

/// A part of a text that is written in one go: `read` tokens from `first` on are read, then `new`
/// tokens follow, all within the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Index of the first token that is read.
    pub first: usize,
    /// Tokens read.
    pub read: usize,
    /// Tokens written.
    pub new: usize,
}

/// The stretches in which a model of `context` positions continues `prompt` tokens by `length`.
///
/// When the context is full, its newer half is read again as a context of its own: the model sees
/// between half a context and a whole one. `prompt` and `context` are at least 1 and 2.
pub fn stretches(prompt: usize, length: usize, context: usize) -> Vec<Stretch> {
    let (mut text, end) = (prompt, prompt + length);
    let mut read = prompt.min(context);
    let mut stretches = Vec::new();
    while text < end {
        // The last token of a stretch needs no position.
        let new = (context + 1 - read).min(end - text);
        stretches.push(Stretch {
            first: text - read,
            read,
            new,
        });
        text += new;
        read = context / 2;
    }
    stretches
}

/// The tokens with which `model` continues `prompt`, at least one token; `length` of them, in
/// [`stretches`].
///
/// # Errors
/// [`ModelError`] if the device fails or logits are no numbers.
pub fn generate(
    model: &Arc<CausalLm>,
    prompt: &[u32],
    length: usize,
    sampling: Sampling,
) -> Result<Vec<u32>, ModelError> {
    let context = model.config().max_position_embeddings;
    let mut text = prompt.to_vec();
    let mut session = Session::new(model.clone(), 1, context)?;
    for (index, stretch) in stretches(text.len(), length, context).iter().enumerate() {
        session.clear();
        let options = GenerationOptions {
            max_new_tokens: stretch.new,
            stop_ids: Vec::new(),
            // Chance of its own for each stretch.
            sampling: Sampling {
                seed: sampling.seed.wrapping_add(index as u64),
                ..sampling
            },
        };
        let read = &text[stretch.first..][..stretch.read];
        let go_on = |_, _| ControlFlow::Continue(());
        let written = tritburn_models::generate::generate(&mut session, &[read], &options, go_on)?;
        text.extend(written.ids.concat());
    }
    Ok(text.split_off(prompt.len()))
}

#[cfg(test)]
mod tests {
    use tritburn_models::model::LoadOptions;
    use tritburn_models::text::TokenizerFiles;

    use super::*;
    use crate::evaluate::likeliest;
    use crate::model::ModelConfig;

    /// Heads of 32, which every device's kernels take.
    fn config(context: usize) -> ModelConfig {
        ModelConfig::new()
            .with_d_model(64)
            .with_d_ff(48)
            .with_layers(2)
            .with_context(context)
            .with_heads(2)
    }

    fn served(model: &tritburn_models::TrainableModel) -> Arc<CausalLm> {
        let files = TokenizerFiles::default();
        let checkpoint = model.as_checkpoint(&files).unwrap();
        let options = LoadOptions::default();
        Arc::new(CausalLm::load(&checkpoint, &options, &model.device()).unwrap())
    }

    #[test]
    fn stretches_read_what_was_written_and_fill_the_context() {
        let stretch = |first, read, new| Stretch { first, read, new };
        assert_eq!(
            stretches(13, 20, 8),
            [
                stretch(5, 8, 1),
                stretch(10, 4, 5),
                stretch(15, 4, 5),
                stretch(20, 4, 5),
                stretch(25, 4, 4)
            ]
        );
        assert_eq!(stretches(3, 6, 8), [stretch(0, 3, 6)]);
        assert_eq!(stretches(3, 7, 8), [stretch(0, 3, 6), stretch(5, 4, 1)]);
        assert_eq!(stretches(3, 0, 8), []);
    }

    #[test]
    fn greedy_text_runs_past_the_context_and_is_what_the_trained_model_finds_likeliest() {
        let device = crate::test_device();
        device.seed(3);
        let trained = config(8).init(&device).unwrap();
        let prompt = b"let mut value".map(u32::from);
        let written = generate(&served(&trained), &prompt, 20, Sampling::greedy()).unwrap();
        assert_eq!(written.len(), 20);
        assert!(likeliest(&trained, &prompt, &written).unwrap());
        let mut other = written.clone();
        other[17] ^= 1;
        assert!(!likeliest(&trained, &prompt, &other).unwrap());
    }

    #[test]
    fn random_text_follows_from_its_seed() {
        let device = crate::test_device();
        device.seed(3);
        let model = served(&config(8).init(&device).unwrap());
        let write = |seed| {
            let sampling = Sampling {
                temperature: 1.0,
                seed,
                ..Sampling::default()
            };
            generate(&model, &[10], 16, sampling).unwrap()
        };
        assert_eq!(write(1), write(1));
        assert_ne!(write(1), write(2));
    }
}
