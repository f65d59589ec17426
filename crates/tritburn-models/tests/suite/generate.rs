//! Sequences: long prompts in parts, ragged batches, and where they stop.

use std::ops::ControlFlow;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use rstest::rstest;
use tritburn_models::checkpoint::{self, Synthetic};
use tritburn_models::generate::{Finish, Generation, GenerationOptions, Session, generate};
use tritburn_models::model::LoadOptions;
use tritburn_models::sample::Sampling;
use tritburn_models::{CausalLm, DecoderConfig};

use crate::common::{Form, devices};

fn values(logits: Tensor<2>) -> Vec<f32> {
    logits.into_data().try_into_vec().unwrap()
}

fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    let worst = pairs.fold(0.0, |m, (a, b)| f32::max(m, (a - b).abs()));
    assert!(worst <= 1e-3, "{what}: {worst}");
}

/// A session runs 2048 tokens of a prompt at once.
#[test]
fn a_prompt_longer_than_a_part_gives_the_logits_of_two_prompts() {
    let config = DecoderConfig {
        vocab_size: 64,
        hidden_size: 64,
        intermediate_size: 96,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 32,
        bos_token_id: None,
        eos_token_ids: Vec::new(),
        ..DecoderConfig::b1_58_2b_4t()
    };
    let (first, rest) = (1000, 1100);
    let total = first + rest;
    let prompt: Vec<u32> = (0..total as u32).map(|i| i * i % 61).collect();
    for device in devices() {
        let checkpoint = Synthetic::new(config.clone(), 7).unwrap();
        let options = LoadOptions::default();
        let model = CausalLm::load(&checkpoint, &options, &device).unwrap();
        let model = Arc::new(model);
        let session = |rows| Session::new(model.clone(), rows, total).unwrap();

        let mut two = session(1);
        let _ = two.prefill(&[&prompt[..first]]).unwrap();
        let expected = values(two.prefill(&[&prompt[first..]]).unwrap());
        let mut one = session(1);
        let found = values(one.prefill(&[&prompt]).unwrap());
        assert_eq!((one.lengths(), two.lengths()), (&[total][..], &[total][..]));
        assert_close(&found, &expected, &format!("one on {device:?}"));

        // The second prompt lies across the border of the first part.
        let mut several = session(3);
        let prompts = [&prompt[..first], &prompt[..], &prompt[..first]];
        let logits = values(several.prefill(&prompts).unwrap());
        let mut alone = session(1);
        let short = values(alone.prefill(&[&prompt[..first]]).unwrap());
        for (row, expected) in [&short, &expected, &short].into_iter().enumerate() {
            let found = &logits[row * 64..][..64];
            assert_close(found, expected, &format!("row {row} on {device:?}"));
        }
    }
}

fn toy(device: &Device) -> Arc<CausalLm> {
    let folder = Form::Packed.folder();
    let checkpoint = checkpoint::open(folder.path()).unwrap();
    let options = LoadOptions::default();
    Arc::new(CausalLm::load(checkpoint.as_ref(), &options, device).unwrap())
}

fn run(model: &Arc<CausalLm>, prompts: &[&[u32]], options: &GenerationOptions) -> Generation {
    let mut session = Session::new(model.clone(), prompts.len(), 64).unwrap();
    let mut streamed = vec![Vec::new(); prompts.len()];
    let generation = generate(&mut session, prompts, options, |row, id| {
        streamed[row].push(id);
        ControlFlow::Continue(())
    });
    let generation = generation.unwrap();
    assert_eq!(streamed, generation.ids);
    generation
}

#[rstest]
#[case::chosen_on_the_device(Sampling::greedy())]
#[case::chosen_on_the_host(Sampling { repetition_penalty: 1.3, ..Sampling::greedy() })]
fn sequences_of_a_batch_end_as_they_do_alone(#[case] sampling: Sampling) {
    let text: Vec<u32> = (0..24).map(|i| 3 + i * 37 % 500).collect();
    let prompts = [&text[..1], &text[2..9], &text[5..24], &text[20..23]];
    for device in devices() {
        let model = toy(&device);
        let mut options = GenerationOptions {
            max_new_tokens: 24,
            stop_ids: Vec::new(),
            sampling,
        };
        let whole = run(&model, &prompts, &options);
        assert_eq!(whole.finish, [Finish::Length; 4]);
        // Tokens that end two of the sequences early, and may end others.
        options.stop_ids = vec![whole.ids[0][9], whole.ids[2][4]];
        let together = run(&model, &prompts, &options);
        let mut lengths = Vec::new();
        for (row, prompt) in prompts.iter().enumerate() {
            let alone = run(&model, &[prompt], &options);
            assert_eq!(together.ids[row], alone.ids[0], "row {row} on {device:?}");
            assert_eq!(together.finish[row], alone.finish[0]);
            let end = alone.ids[0].last().unwrap();
            let stopped = options.stop_ids.contains(end);
            assert_eq!(stopped, alone.finish[0] == Finish::Stop);
            lengths.push(alone.ids[0].len());
        }
        assert!(lengths[0] <= 10 && lengths[2] <= 5, "{lengths:?}");
        lengths.sort_unstable();
        lengths.dedup();
        assert!(lengths.len() > 1, "all end at the same time: {lengths:?}");
    }
}
