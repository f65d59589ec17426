//! Many requests at once.

mod batching;
mod blocks;
mod choices;
mod ends;
mod failures;
mod pool;
mod refusals;
mod structure;

use std::sync::Arc;

use burn::tensor::Device;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use tritburn_models::CausalLm;
use tritburn_models::checkpoint;
use tritburn_models::engine::{Completion, Engine, EngineOptions, Request};
use tritburn_models::model::LoadOptions;
use tritburn_models::text::{Tokenizer, TokenizerFiles};

use crate::common::Form;

/// The toy model and its tokenizer, on `device`.
fn toy(device: &Device) -> (Arc<CausalLm>, Arc<Tokenizer>) {
    let folder = Form::Packed.folder();
    let checkpoint = checkpoint::open(folder.path()).unwrap();
    let model = CausalLm::load(checkpoint.as_ref(), &LoadOptions::default(), device).unwrap();
    let tokenizer =
        Tokenizer::from_files(&TokenizerFiles::from_folder(folder.path()).unwrap()).unwrap();
    (Arc::new(model), Arc::new(tokenizer))
}

/// Small blocks, so that short sequences have several.
fn small() -> EngineOptions {
    EngineOptions {
        max_sequences: 8,
        block_size: 4,
        prefill_tokens: 48,
        ..EngineOptions::default()
    }
}

/// An engine on the toy model.
fn start(options: EngineOptions) -> Engine {
    let (model, tokenizer) = toy(&Device::flex());
    Engine::start(model, Some(tokenizer), options).unwrap()
}

/// `len` ids, of the tokens that have text.
fn prompt(seed: u64, len: usize) -> Vec<u32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| random.random_range(3..424)).collect()
}

/// The most likely `new` tokens behind `prompt`.
fn greedy(prompt: &[u32], new: usize) -> Request {
    Request {
        max_new_tokens: Some(new),
        ..Request::new(prompt)
    }
}

/// The answer to a request of one choice.
fn answer(engine: &Engine, request: Request) -> Completion {
    engine.submit(request).unwrap().collect_blocking().remove(0)
}

/// Nothing runs, waits or holds blocks.
fn assert_idle(engine: &Engine) {
    let stats = engine.stats();
    assert_eq!(
        (stats.running, stats.waiting, stats.blocks_used),
        (0, 0, 0),
        "{stats:?}"
    );
}
