//! How tokens are chosen: several answers, penalties, biases, log probabilities.

use burn::tensor::Device;
use tritburn_models::engine::{Event, Request};
use tritburn_models::generate::Session;
use tritburn_models::sample::{Sampler, Sampling};

use super::{answer, assert_idle, greedy, prompt, small, start, toy};

fn drawn(seed: u64) -> Sampling {
    Sampling {
        temperature: 1.0,
        seed,
        ..Sampling::greedy()
    }
}

#[test]
fn log_probabilities_change_no_token() {
    let engine = start(small());
    let most_likely = Sampling::greedy();
    let filtered = Sampling {
        top_k: Some(9),
        ..drawn(8)
    };
    for sampling in [drawn(7), filtered, most_likely] {
        let asked = |logprobs| {
            let request = Request {
                sampling,
                logprobs,
                ..greedy(&prompt(2, 30), 20)
            };
            answer(&engine, request).ids
        };
        assert_eq!(asked(None), asked(Some(3)), "{sampling:?}");
    }
}

#[test]
fn choices_draw_independently_and_the_same_whenever_asked() {
    let engine = start(small());
    let request = Request {
        choices: 5,
        sampling: drawn(4),
        ..greedy(&prompt(1, 40), 12)
    };
    let choices = engine.submit(request.clone()).unwrap().collect_blocking();
    assert_eq!(choices.len(), 5);
    for (i, choice) in choices.iter().enumerate() {
        assert_eq!(choice.ids.len(), 12);
        assert!(
            choices[..i].iter().all(|other| other.ids != choice.ids),
            "{i}"
        );
    }
    // The prompt was read once; the further choices read its end.
    let cached: Vec<_> = choices
        .iter()
        .map(|choice| choice.usage.cached_tokens)
        .collect();
    assert_eq!(cached, [0, 24, 24, 24, 24]);
    let one = Request {
        choices: 1,
        ..request.clone()
    };
    assert_eq!(answer(&engine, one).ids, choices[0].ids);
    let again = engine.submit(request).unwrap().collect_blocking();
    assert_eq!(again.len(), 5);
    for (again, choice) in again.iter().zip(&choices) {
        assert_eq!(again.ids, choice.ids);
    }
    assert_idle(&engine);
}

#[test]
fn penalties_and_biases_choose_as_a_sampler_does() {
    let (model, _) = toy(&Device::flex());
    let engine = start(small());
    let prompt = prompt(2, 20);
    let bias = [(7, 3.0), (9, f32::NEG_INFINITY), (300, -2.5)];
    let penalties = [
        Sampling {
            repetition_penalty: 1.4,
            ..Sampling::greedy()
        },
        Sampling {
            presence_penalty: 1.5,
            ..drawn(3)
        },
        Sampling {
            frequency_penalty: 0.7,
            repetition_penalty: 1.1,
            ..drawn(8)
        },
    ];
    for sampling in penalties {
        let request = Request {
            sampling,
            logit_bias: bias.to_vec(),
            ..greedy(&prompt, 30)
        };
        let found = answer(&engine, request).ids;
        let mut session = Session::new(model.clone(), 1, 64).unwrap();
        let mut sampler = Sampler::new(sampling).unwrap();
        let mut logits = session.prefill(&[&prompt]).unwrap();
        let mut expected = Vec::new();
        for _ in 0..30 {
            let mut values: Vec<f32> = logits.into_data().try_into_vec().unwrap();
            bias.iter()
                .for_each(|&(id, bias)| values[id as usize] += bias);
            let id = sampler.sample_after(&values, &prompt, &expected).unwrap();
            expected.push(id);
            logits = session.decode(&[id]).unwrap().0;
        }
        assert_eq!(found, expected, "{sampling:?}");
        assert!(!found.contains(&9));
    }
}

#[test]
fn log_probabilities_are_those_of_the_models_own_logits() {
    let (model, _) = toy(&Device::flex());
    let engine = start(small());
    let prompt = prompt(5, 20);
    let request = Request {
        logprobs: Some(3),
        // Forbidden, and still told of.
        logit_bias: (0..400).map(|id| (id, f32::NEG_INFINITY)).collect(),
        ..greedy(&prompt, 1)
    };
    let mut generation = engine.submit(request).unwrap();
    let Some(Event::Token(token)) = generation.recv_blocking() else {
        panic!("no token");
    };
    assert!(token.id >= 400);
    let mut session = Session::new(model, 1, 64).unwrap();
    let logits = session.prefill(&[&prompt]).unwrap();
    let logits: Vec<f32> = logits.into_data().try_into_vec().unwrap();
    let sum: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
    let logprob = |id: u32| (f64::from(logits[id as usize]) - sum.ln()) as f32;
    let found = token.logprobs.unwrap();
    assert!((found.chosen - logprob(token.id)).abs() < 1e-4);
    assert_eq!(found.top.len(), 3);
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    ids.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
    for (&(id, value), &expected) in found.top.iter().zip(&ids) {
        assert_eq!(id, expected);
        assert!((value - logprob(id)).abs() < 1e-4);
    }
    assert!(found.top[2].1 > found.chosen);
}
