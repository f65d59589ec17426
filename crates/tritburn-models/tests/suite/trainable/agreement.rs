//! Trained, packed, served and converted: the same logits and the same text.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Device;
use rstest::rstest;
use tritburn::Pack;
use tritburn_models::checkpoint;
use tritburn_models::config::{Family, GatedActivation, Quantization, RopeScaling};
use tritburn_models::convert::{self, Target, convert};
use tritburn_models::generate::{GenerationOptions, Session, generate};
use tritburn_models::model::{LoadOptions, Precision};
use tritburn_models::sample::Sampling;
use tritburn_models::text::TokenizerFiles;
use tritburn_models::trainable::{SaveOptions, TrainableModel, TrainableOptions};
use tritburn_models::{CausalLm, DecoderConfig};

use super::{batch, config, ids, model};
use crate::common::devices;

/// Largest difference of a logit between two forms. Products are integers and equal; what differs is
/// the order of f32 sums over at most 384 values (384 · 2⁻²⁴ of a logit's size, some 10).
const TOLERANCE: f32 = 1e-5;

const PROMPT: usize = 24;
const NEW: usize = 16;

/// What a form makes of a prompt: logits behind each token, and the likeliest continuation.
struct Answer {
    logits: Vec<f32>,
    greedy: Vec<u32>,
}

fn of_module(model: &TrainableModel, prompt: &[u32]) -> Answer {
    let device = model.device();
    let vocabulary = model.config().vocab_size;
    // Always of one length, which is tuned for once: what stands behind a token does not change it.
    let logits = |ids: &[u32]| {
        let mut ids = ids.to_vec();
        ids.resize(PROMPT + NEW, 0);
        let logits = model.logits(batch(&[&ids], &device)).unwrap();
        logits.into_data().try_into_vec::<f32>().unwrap()
    };
    let mut text = prompt.to_vec();
    for _ in 0..NEW {
        let all = logits(&text);
        let last = &all[(text.len() - 1) * vocabulary..][..vocabulary];
        let best = (0..last.len())
            .rev()
            .max_by(|&a, &b| last[a].total_cmp(&last[b]));
        text.push(best.unwrap() as u32);
    }
    let mut of_prompt = logits(prompt);
    of_prompt.truncate(prompt.len() * vocabulary);
    Answer {
        logits: of_prompt,
        greedy: text.split_off(prompt.len()),
    }
}

fn of_checkpoint(path: &Path, prompt: &[u32], device: &Device) -> Answer {
    let checkpoint = checkpoint::open(path).unwrap();
    let options = LoadOptions::default();
    let model = CausalLm::load(checkpoint.as_ref(), &options, device).unwrap();
    of_fused(model, prompt)
}

fn of_fused(model: CausalLm, prompt: &[u32]) -> Answer {
    let mut session = Session::new(Arc::new(model), 1, PROMPT + NEW).unwrap();
    let logits = session.prefill_all(prompt).unwrap();
    session.clear();
    let options = GenerationOptions {
        max_new_tokens: NEW,
        stop_ids: Vec::new(),
        sampling: Sampling::default(),
    };
    let go_on = |_, _| ControlFlow::Continue(());
    let mut generation = generate(&mut session, &[prompt], &options, go_on).unwrap();
    Answer {
        logits: logits.into_data().try_into_vec::<f32>().unwrap(),
        greedy: generation.ids.remove(0),
    }
}

#[track_caller]
fn assert_same(name: &str, found: &Answer, expected: &Answer) {
    assert_eq!(found.logits.len(), expected.logits.len(), "{name}");
    let pairs = found.logits.iter().zip(&expected.logits);
    let largest = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(largest <= TOLERANCE, "{name}: logits {largest} apart");
    assert_eq!(found.greedy, expected.greedy, "{name}");
}

fn grouped() -> DecoderConfig {
    config()
}

/// An odd vocabulary with a head of its own, and a head for each query.
fn own_head() -> DecoderConfig {
    DecoderConfig {
        vocab_size: 257,
        intermediate_size: 256,
        num_key_value_heads: 4,
        tie_word_embeddings: false,
        ..config()
    }
}

/// One key and value head for all queries.
fn single_key() -> DecoderConfig {
    DecoderConfig {
        vocab_size: 301,
        hidden_size: 256,
        num_key_value_heads: 1,
        head_dim: 64,
        num_hidden_layers: 3,
        rms_norm_eps: 1e-6,
        ..config()
    }
}

/// Without sub-norms, with a SiLU gate and stretched positions.
fn llama_shaped() -> DecoderConfig {
    DecoderConfig {
        family: Family::Llama,
        hidden_act: GatedActivation::Silu,
        sub_norms: false,
        tie_word_embeddings: false,
        rope_scaling: RopeScaling::Linear { factor: 2.0 },
        ..config()
    }
}

#[rstest]
#[case::llama_shaped(llama_shaped())]
#[case::grouped_heads(grouped())]
#[case::own_head(own_head())]
#[case::single_key(single_key())]
fn trained_packed_saved_and_converted_models_agree(#[case] config: DecoderConfig) {
    for device in devices() {
        let folder = tempfile::tempdir().unwrap();
        let (saved, gguf) = (
            folder.path().join("model"),
            folder.path().join("model.gguf"),
        );
        let prompt = ids(PROMPT, config.vocab_size);
        let trained = model(&config, &device);
        let expected = of_module(&trained.valid(), &prompt);
        assert!(
            expected.logits.iter().any(|l| l.abs() > 0.5),
            "logits of a size"
        );

        assert_same("autodiff", &of_module(&trained, &prompt), &expected);
        let packed = trained.valid().pack().unwrap();
        assert_same("packed", &of_module(&packed, &prompt), &expected);
        let no_file = TokenizerFiles::default();
        let direct = trained.as_checkpoint(&no_file).unwrap();
        let direct = CausalLm::load(&direct, &LoadOptions::default(), &device).unwrap();
        assert_same("fused", &of_fused(direct, &prompt), &expected);

        trained.save(&saved, &SaveOptions::default()).unwrap();
        assert_same("saved", &of_checkpoint(&saved, &prompt, &device), &expected);
        let source = checkpoint::open(&saved).unwrap();
        let strict = convert::Options::default();
        convert(
            source.as_ref(),
            &gguf,
            Target::GgufI2S,
            &strict,
            &mut |_| {},
        )
        .unwrap();
        assert_same("GGUF", &of_checkpoint(&gguf, &prompt, &device), &expected);

        let options = TrainableOptions::default();
        let again = TrainableModel::from_checkpoint(source.as_ref(), &options, &device).unwrap();
        assert_same("loaded again", &of_module(&again, &prompt), &expected);
    }
}

/// No width is a multiple of 16, heads are wider together than the residual stream.
#[test]
fn models_of_awkward_sizes_agree() {
    let config = DecoderConfig {
        vocab_size: 51,
        hidden_size: 44,
        intermediate_size: 70,
        num_attention_heads: 3,
        num_key_value_heads: 1,
        head_dim: 18,
        num_hidden_layers: 1,
        ..config()
    };
    let device = devices().remove(0);
    let folder = tempfile::tempdir().unwrap();
    let (saved, packed) = (folder.path().join("model"), folder.path().join("packed"));
    let prompt = ids(PROMPT, config.vocab_size);
    let trained = model(&config, &device);
    let expected = of_module(&trained.valid(), &prompt);
    trained.save(&saved, &SaveOptions::default()).unwrap();
    assert_same("saved", &of_checkpoint(&saved, &prompt, &device), &expected);
    let source = checkpoint::open(&saved).unwrap();
    let strict = convert::Options::default();
    convert(source.as_ref(), &packed, Target::Hf, &strict, &mut |_| {}).unwrap();
    assert_same(
        "packed",
        &of_checkpoint(&packed, &prompt, &device),
        &expected,
    );
}

#[test]
fn the_float_twin_is_saved_as_a_plain_float_model() {
    let config = DecoderConfig {
        quantization: Quantization::Dense,
        ..config()
    };
    let device = devices().remove(0);
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("model");
    let prompt = ids(PROMPT, config.vocab_size);
    let trained = model(&config, &device);
    let expected = of_module(&trained.valid(), &prompt);
    trained.save(&saved, &SaveOptions::default()).unwrap();
    let checkpoint = checkpoint::open(&saved).unwrap();
    assert_eq!(checkpoint.quantization(), Quantization::Dense);
    let fused = CausalLm::load(checkpoint.as_ref(), &LoadOptions::default(), &device);
    let fused = fused.unwrap();
    assert_eq!(fused.precision(), Precision::Dense);
    assert_same("saved", &of_fused(fused, &prompt), &expected);
    let options = TrainableOptions::default();
    let again = TrainableModel::from_checkpoint(checkpoint.as_ref(), &options, &device).unwrap();
    assert_same("loaded again", &of_module(&again, &prompt), &expected);
}

/// Sequences of a batch do not see each other.
#[test]
fn a_batch_gives_each_sequence_its_own_logits() {
    let device = devices().remove(0);
    let model = model(&config(), &device).valid();
    let (a, b) = (ids(9, 256), ids(20, 256).split_off(11));
    let both = model.logits(batch(&[&a, &b], &device)).unwrap();
    for (row, ids) in [a, b].iter().enumerate() {
        let alone = model.logits(batch(&[ids], &device)).unwrap();
        let of_batch = both.clone().narrow(0, row, 1);
        let largest = (alone - of_batch).abs().max().into_scalar::<f32>();
        assert!(largest <= TOLERANCE, "sequence {row}: {largest}");
    }
}
