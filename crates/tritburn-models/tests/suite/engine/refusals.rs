//! Requests and options that are refused, with what is wrong in numbers.

use burn::tensor::Device;
use tritburn_models::engine::{
    Engine, EngineError, EngineOptions, Request, Structure, SubmitError,
};
use tritburn_models::sample::Sampling;

use super::{answer, greedy, prompt, small, start, toy};

fn refusal(engine: &Engine, request: Request) -> SubmitError {
    engine.submit(request).err().expect("a refusal")
}

#[test]
fn a_full_queue_refuses_and_recovers() {
    let engine = start(EngineOptions {
        max_sequences: 1,
        max_waiting: 3,
        ..small()
    });
    let mut taken = Vec::new();
    let refused = loop {
        match engine.submit(greedy(&prompt(1, 20), 300)) {
            Ok(generation) => taken.push(generation),
            Err(refused) => break refused,
        }
        assert!(taken.len() < 6, "the queue grows");
    };
    let full = SubmitError::QueueFull {
        waiting: 3,
        limit: 3,
    };
    assert_eq!(refused, full);
    assert_eq!(engine.stats().refused, 1);
    taken.clear();
    while engine.stats().waiting > 0 {
        std::thread::yield_now();
    }
    assert_eq!(answer(&engine, greedy(&prompt(1, 20), 3)).ids.len(), 3);
}

#[test]
fn requests_that_fit_nowhere_are_refused() {
    let engine = start(EngineOptions {
        context: Some(64),
        cache_tokens: Some(40),
        ..small()
    });
    assert_eq!(refusal(&engine, Request::new([])), SubmitError::EmptyPrompt);
    let context = |prompt, new| SubmitError::Context {
        prompt,
        new,
        context: 64,
    };
    assert_eq!(
        refusal(&engine, Request::new(prompt(1, 64))),
        context(64, 1)
    );
    assert_eq!(
        refusal(&engine, greedy(&prompt(1, 20), 45)),
        context(20, 45)
    );
    assert_eq!(
        refusal(&engine, greedy(&prompt(1, 20), usize::MAX)),
        context(20, usize::MAX)
    );
    let cache = SubmitError::Cache {
        needed: 11,
        blocks: 10,
    };
    assert_eq!(refusal(&engine, greedy(&prompt(1, 20), 22)), cache);
    assert_eq!(answer(&engine, greedy(&prompt(1, 20), 21)).ids.len(), 21);
    // Who names no number gets what there is.
    assert_eq!(answer(&engine, Request::new(prompt(1, 20))).ids.len(), 21);
}

#[test]
fn ids_outside_of_the_vocabulary_are_refused() {
    let engine = start(small());
    let refused = |what, index, id| SubmitError::TokenId {
        what,
        index,
        id,
        vocabulary: 512,
    };
    assert_eq!(
        refusal(&engine, Request::new([1, 512])),
        refused("prompt", 1, 512)
    );
    let request = Request {
        stop_ids: vec![u32::MAX],
        ..Request::new([1])
    };
    assert_eq!(refusal(&engine, request), refused("stop ids", 0, u32::MAX));
    let request = Request {
        logit_bias: vec![(3, 1.0), (600, 1.0)],
        ..Request::new([1])
    };
    assert_eq!(refusal(&engine, request), refused("logit bias", 1, 600));
}

#[test]
fn parameters_out_of_range_are_refused_by_name() {
    let engine = start(small());
    let one = || Request::new([1]);
    let sampling = |sampling| Request { sampling, ..one() };
    let cases = [
        (
            Request {
                choices: 0,
                ..one()
            },
            "choices",
        ),
        (
            Request {
                choices: 129,
                ..one()
            },
            "choices",
        ),
        (
            Request {
                logprobs: Some(65),
                ..one()
            },
            "logprobs",
        ),
        (greedy(&[1], 0), "max_new_tokens"),
        (
            Request {
                stop: vec!["a".into(), String::new()],
                ..one()
            },
            "stop",
        ),
        (
            Request {
                stop: vec!["a".into(); 65],
                ..one()
            },
            "stop",
        ),
        (
            Request {
                stop: vec!["a".repeat(1025)],
                ..one()
            },
            "stop",
        ),
        (
            Request {
                logit_bias: vec![(1, f32::NAN)],
                ..one()
            },
            "logit_bias",
        ),
        (
            Request {
                logit_bias: vec![(1, f32::INFINITY)],
                ..one()
            },
            "logit_bias",
        ),
        (
            sampling(Sampling {
                temperature: -1.0,
                ..Sampling::greedy()
            }),
            "temperature",
        ),
        (
            sampling(Sampling {
                temperature: f32::NAN,
                ..Sampling::greedy()
            }),
            "temperature",
        ),
        (
            sampling(Sampling {
                top_p: Some(0.0),
                ..Sampling::greedy()
            }),
            "top-p",
        ),
        (
            sampling(Sampling {
                presence_penalty: f32::NAN,
                ..Sampling::greedy()
            }),
            "presence penalty",
        ),
        (
            sampling(Sampling {
                frequency_penalty: f32::INFINITY,
                ..Sampling::greedy()
            }),
            "frequency penalty",
        ),
    ];
    for (request, name) in cases {
        let refused = refusal(&engine, request).to_string();
        assert!(refused.starts_with(name), "{name}: {refused}");
    }
}

#[test]
fn text_needs_a_tokenizer() {
    let (model, _) = toy(&Device::flex());
    let engine = Engine::start(model, None, small()).unwrap();
    let stop = Request {
        stop: vec!["a".into()],
        ..Request::new([1])
    };
    let structure = Request {
        structure: Some(Structure::JsonObject),
        ..Request::new([1])
    };
    for request in [stop, structure] {
        let refused = refusal(&engine, request);
        assert!(
            matches!(refused, SubmitError::NoTokenizer { .. }),
            "{refused}"
        );
    }
    let found = answer(&engine, greedy(&[1], 4));
    assert_eq!((found.ids.len(), found.text.as_str()), (4, ""));
}

#[test]
fn engines_of_no_size_do_not_start() {
    let (model, tokenizer) = toy(&Device::flex());
    let start = |options| Engine::start(model.clone(), Some(tokenizer.clone()), options).err();
    let cases = [
        (
            EngineOptions {
                max_sequences: 0,
                ..small()
            },
            "max_sequences",
        ),
        (
            EngineOptions {
                block_size: 0,
                ..small()
            },
            "block_size",
        ),
        (
            EngineOptions {
                context: Some(0),
                ..small()
            },
            "context",
        ),
        (
            EngineOptions {
                cache_tokens: Some(0),
                ..small()
            },
            "cache_tokens",
        ),
    ];
    for (options, expected) in cases {
        let error = start(options);
        assert!(
            matches!(error, Some(EngineError::Zero { name }) if name == expected),
            "{error:?}"
        );
    }
    let error = start(EngineOptions {
        context: Some(513),
        ..small()
    });
    let message = error.unwrap().to_string();
    assert!(
        message.contains("513") && message.contains("512"),
        "{message}"
    );
}
