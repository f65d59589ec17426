//! Answers that have to look like something.

use serde_json::{Value, json};
use tritburn_models::engine::{FinishReason, Request, Stop, Structure, SubmitError};
use tritburn_models::sample::Sampling;

use super::{answer, greedy, prompt, small, start};

fn structured(structure: Structure, seed: u64) -> Request {
    Request {
        structure: Some(structure),
        stop_ids: vec![2],
        // The toy would rather say anything else.
        sampling: Sampling {
            temperature: 1.0,
            seed,
            ..Sampling::greedy()
        },
        ..greedy(&prompt(seed, 20), 400)
    }
}

#[test]
fn json_follows_its_schema() {
    let engine = start(small());
    let schema = json!({
        "type": "object",
        "properties": {
            "age": { "type": "integer", "minimum": 0, "maximum": 150 },
            "colour": { "enum": ["red", "green"] },
            "flags": { "type": "array", "items": { "type": "boolean" }, "maxItems": 3 },
        },
        "required": ["age", "colour", "flags"],
        "additionalProperties": false,
    });
    let generations: Vec<_> = (0..6)
        .map(|seed| {
            let request = structured(Structure::JsonSchema(schema.clone()), seed);
            engine.submit(request).unwrap()
        })
        .collect();
    let mut done = 0;
    for generation in generations {
        let found = generation.collect_blocking().remove(0);
        if found.reason == FinishReason::Length {
            // White space is allowed without end.
            continue;
        }
        assert!(
            matches!(found.reason, FinishReason::Stop(_)),
            "{:?}",
            found.reason
        );
        let value: Value = serde_json::from_str(&found.text).unwrap();
        assert!(value["age"].as_u64().unwrap() <= 150, "{value}");
        assert!(
            ["red", "green"].contains(&value["colour"].as_str().unwrap()),
            "{value}"
        );
        assert!(
            value["flags"]
                .as_array()
                .unwrap()
                .iter()
                .all(Value::is_boolean),
            "{value}"
        );
        done += 1;
    }
    assert!(done > 0, "none came to its end");
}

#[test]
fn text_matches_a_regular_expression_to_its_end() {
    let engine = start(small());
    for seed in 0..4 {
        let expression = Structure::Regex("(yes|no), [0-9]{3}\\.".into());
        let found = answer(&engine, structured(expression, seed));
        let (word, rest) = found.text.split_once(", ").unwrap();
        assert!(["yes", "no"].contains(&word), "{:?}", found.text);
        assert!(rest.len() == 4 && rest.ends_with('.'), "{:?}", found.text);
        assert!(rest[..3].parse::<u16>().is_ok(), "{:?}", found.text);
        assert_eq!(found.reason, FinishReason::Stop(Stop::Structure));
    }
}

#[test]
fn structures_that_cannot_be_followed_are_refused() {
    let engine = start(small());
    let cases = [
        Structure::Regex("(".into()),
        Structure::JsonSchema(json!({ "type": "nonsense" })),
        Structure::Lark("start: nowhere".into()),
    ];
    for structure in cases {
        let refused = engine.submit(structured(structure.clone(), 0)).err();
        assert!(
            matches!(&refused, Some(SubmitError::Structure { reason }) if !reason.is_empty()),
            "{structure:?}: {refused:?}"
        );
    }
    assert_eq!(answer(&engine, greedy(&[1], 2)).ids.len(), 2);
}
