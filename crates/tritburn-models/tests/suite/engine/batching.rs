//! Answers do not depend on who shares a step.

use burn::tensor::Device;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use tritburn_models::engine::{Engine, EngineOptions, FinishReason, Request};
use tritburn_models::generate::{GenerationOptions, Session, generate};
use tritburn_models::sample::Sampling;

use super::{answer, assert_idle, greedy, prompt, small, start, toy};
use crate::common::{devices, is_slow};

#[test]
fn greedy_answers_are_those_of_a_session() {
    for device in devices() {
        let (model, tokenizer) = toy(&device);
        let engine = Engine::start(model.clone(), Some(tokenizer), EngineOptions::default());
        let engine = engine.unwrap();
        let lens = if is_slow(&device) {
            &[7, 65][..]
        } else {
            &[1, 7, 16, 65, 200]
        };
        for &len in lens {
            let prompt = prompt(len as u64, len);
            let mut session = Session::new(model.clone(), 1, 512).unwrap();
            let options = GenerationOptions {
                max_new_tokens: 40,
                stop_ids: Vec::new(),
                sampling: Sampling::greedy(),
            };
            let whole = generate(&mut session, &[&prompt], &options, |_, _| {
                std::ops::ControlFlow::Continue(())
            });
            let found = answer(&engine, greedy(&prompt, 40));
            assert_eq!(found.ids, whole.unwrap().ids[0], "{len} on {device:?}");
            assert_eq!(found.reason, FinishReason::Length);
            assert_eq!(found.usage.prompt_tokens, len);
            assert_eq!(found.usage.generated_tokens, 40);
        }
    }
}

/// Greedy and drawn, short and long.
fn requests(count: u64) -> Vec<Request> {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let requests = (0..count).map(|i| {
        let len = random.random_range(1..120);
        let sampling = match i % 3 {
            0 | 1 => Sampling::greedy(),
            _ => Sampling {
                temperature: 0.8,
                top_k: Some(40),
                seed: i,
                frequency_penalty: 0.5,
                ..Sampling::greedy()
            },
        };
        Request {
            sampling,
            ..greedy(&prompt(i, len), random.random_range(1..40))
        }
    });
    requests.collect()
}

#[test]
fn an_answer_is_the_same_alone_and_among_63_others() {
    let options = EngineOptions {
        max_sequences: 64,
        ..small()
    };
    let engine = start(options);
    let requests = requests(64);
    let alone: Vec<_> = requests
        .iter()
        .map(|request| answer(&engine, request.clone()).ids)
        .collect();
    // They arrive while others are under way.
    let mut random = ChaCha8Rng::seed_from_u64(6);
    let mut generations = Vec::new();
    for request in requests {
        generations.push(engine.submit(request).unwrap());
        if random.random_range(0..4) == 0 {
            std::thread::sleep(std::time::Duration::from_millis(random.random_range(1..8)));
        }
    }
    for (i, (generation, alone)) in generations.into_iter().zip(alone).enumerate() {
        assert_eq!(generation.collect_blocking()[0].ids, alone, "request {i}");
    }
    let stats = engine.stats();
    let (_, small) = stats.step_tokens.cumulative().next().unwrap();
    assert!(small < stats.step_tokens.count(), "no step had two of them");
    assert_idle(&engine);
}

#[test]
fn a_prompt_read_in_parts_gives_the_answer_of_a_whole_one() {
    let whole = start(EngineOptions {
        prefill_tokens: 512,
        ..small()
    });
    let parts = start(EngineOptions {
        prefill_tokens: 33,
        ..small()
    });
    for len in [31, 32, 33, 34, 49, 50, 81, 160] {
        let request = greedy(&prompt(len as u64, len), 24);
        let found = answer(&parts, request.clone());
        assert_eq!(found.ids, answer(&whole, request).ids, "{len}");
    }
    assert!(parts.stats().step_tokens.count() > whole.stats().step_tokens.count());
}

#[test]
fn first_come_is_first_served() {
    let engine = start(EngineOptions {
        max_sequences: 1,
        ..small()
    });
    let generations: Vec<_> = (0..5)
        .map(|i| engine.submit(greedy(&prompt(i, 20), 6)).unwrap())
        .collect();
    let ends: Vec<_> = generations
        .into_iter()
        .map(|generation| generation.collect_blocking()[0].usage.total_time)
        .collect();
    assert!(ends.is_sorted(), "{ends:?}");
}

#[test]
fn tasks_wait_as_threads_do() {
    use std::pin::pin;

    use futures_core::Stream;
    use tritburn_models::engine::Event;

    let (model, tokenizer) = toy(&Device::flex());
    let engine = Engine::start(model, Some(tokenizer.clone()), small()).unwrap();
    let request = greedy(&prompt(3, 30), 20);
    let expected = answer(&engine, request.clone());
    pollster::block_on(async {
        let mut one = engine.submit(request.clone()).unwrap();
        let two = engine.submit(request.clone()).unwrap();
        let mut ids = Vec::new();
        while let Some(event) = one.recv().await {
            match event {
                Event::Token(token) => ids.push(token.id),
                Event::Finished(finished) => assert_eq!(finished.reason, FinishReason::Length),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(ids, expected.ids);
        assert!(one.is_finished() && one.recv().await.is_none());
        let mut two = pin!(two);
        let mut events = 0;
        while let Some(_event) = std::future::poll_fn(|task| two.as_mut().poll_next(task)).await {
            events += 1;
        }
        assert_eq!(events, 21);
    });
}
