//! Every field of OpenAI's requests: supported, or refused by name.

use async_openai::types::chat::CreateChatCompletionRequest;
use async_openai::types::completions::CreateCompletionRequest;
use async_openai::types::embeddings::CreateEmbeddingRequest;
use reqwest::StatusCode;
use serde_aux::serde_introspection::serde_introspect;
use serde_json::{Value, json};
use tritburn_server::openai::fields::{
    CHAT, COMPLETION, DETOKENIZE, EMBEDDING, Field, Support, TOKENIZE,
};

use crate::common::*;

#[test]
fn no_field_that_a_client_knows_is_missing() {
    let known: [(&[Field], &[&str]); 3] = [
        (CHAT, serde_introspect::<CreateChatCompletionRequest>()),
        (COMPLETION, serde_introspect::<CreateCompletionRequest>()),
        (EMBEDDING, serde_introspect::<CreateEmbeddingRequest>()),
    ];
    for (table, known) in known {
        assert!(known.len() > 4, "{known:?}");
        for name in known {
            assert!(
                table.iter().any(|field| field.name == *name),
                "{name} is not in the table"
            );
        }
    }
}

/// A request that is answered, its address and the table of its fields.
fn requests() -> [(&'static str, Value, &'static [Field]); 4] {
    let chat =
        json!({ "messages": user("a"), "max_tokens": 2, "temperature": 0, "ignore_eos": true });
    let completion =
        json!({ "prompt": "a", "max_tokens": 2, "temperature": 0, "ignore_eos": true });
    [
        ("/v1/chat/completions", chat, CHAT),
        ("/v1/completions", completion, COMPLETION),
        ("/tokenize", json!({ "content": "a" }), TOKENIZE),
        ("/detokenize", json!({ "tokens": [1] }), DETOKENIZE),
    ]
}

async fn check(server: &Server, path: &str, body: &Value, field: &Field) {
    let with = |value: Value| {
        let mut body = body.clone();
        body[field.name] = value;
        body
    };
    let name = field.name;
    match field.support {
        Support::Supported | Support::Extension => {
            // Whatever takes this is not looked at.
            let (status, param, message) = server.refusal(path, &with(json!([{}]))).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {name}: {message}");
            let param = param.unwrap_or_else(|| panic!("{path} {name}: {message}"));
            assert!(param.starts_with(name), "{path} {name}: {param}");
        }
        Support::NoEffect => {
            let answer = server.ask(path, with(json!({ "any": ["thing"] }))).await;
            let plain = server.ask(path, body.clone()).await;
            assert_eq!(answer["choices"], plain["choices"], "{path} {name}");
        }
        Support::Only(only) => {
            server
                .ask(path, with(serde_json::from_str(only).unwrap()))
                .await;
            let (status, param, _) = server.refusal(path, &with(json!("other"))).await;
            assert_eq!(status, StatusCode::BAD_REQUEST);
            assert_eq!(param.as_deref(), Some(name), "{path}");
        }
        Support::Refused => {
            let (status, param, _) = server.refusal(path, &with(json!("anything"))).await;
            assert_eq!(status, StatusCode::BAD_REQUEST);
            assert_eq!(param.as_deref(), Some(name), "{path}");
            let plain = server.ask(path, body.clone()).await;
            assert_eq!(
                server.ask(path, with(Value::Null)).await["choices"],
                plain["choices"]
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_is_acted_on_or_refused_by_name() {
    let server = Server::bitnet().await;
    for (path, body, table) in requests() {
        for field in table {
            check(&server, path, &body, field).await;
        }
        let mut unknown = body;
        unknown["heat"] = json!(1);
        let (status, param, _) = server.refusal(path, &unknown).await;
        assert_eq!(
            (status.as_u16(), param.as_deref()),
            (400, Some("heat")),
            "{path}"
        );
    }
    let server = Server::embeddings().await;
    for field in EMBEDDING {
        check(&server, "/v1/embeddings", &json!({ "input": "a" }), field).await;
    }
}

/// What each sampling field changes is the engine's to test; that it arrives there is tested here.
#[tokio::test(flavor = "multi_thread")]
async fn fields_of_sampling_change_the_answer() {
    let server = Server::bitnet().await;
    let body = |more: Value| {
        let mut body =
            json!({ "prompt": "weights", "max_tokens": 24, "seed": 1, "ignore_eos": true });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    let text = async |more: Value| {
        let answer = server.ask("/v1/completions", body(more)).await;
        answer["choices"][0]["text"].as_str().unwrap().to_string()
    };
    let plain = text(json!({})).await;
    assert_eq!(
        text(json!({})).await,
        plain,
        "a seed makes answers repeatable"
    );
    assert_eq!(
        text(json!({ "temperature": 1, "top_p": 1, "top_k": -1, "min_p": 0 })).await,
        plain
    );
    let greedy = text(json!({ "temperature": 0 })).await;
    for same in [
        json!({ "top_k": 1 }),
        json!({ "min_p": 1 }),
        json!({ "top_p": 1e-6 }),
    ] {
        assert_eq!(
            text(same.clone()).await,
            greedy,
            "{same} leaves the most likely token"
        );
    }
    for other in [
        json!({ "seed": 2 }),
        json!({ "temperature": 0 }),
        json!({ "temperature": 0, "repetition_penalty": 50 }),
        json!({ "temperature": 0, "frequency_penalty": 2 }),
        json!({ "temperature": 0, "presence_penalty": 2 }),
    ] {
        let found = text(other.clone()).await;
        let against = match other.get("temperature") {
            Some(_) if other.as_object().unwrap().len() > 1 => &greedy,
            _ => &plain,
        };
        assert_ne!(&found, against, "{other}");
    }
    let biased = text(json!({ "logit_bias": { "300": 100 } })).await;
    let token = BITNET.text.tokenizer.decode(&[300; 24]).unwrap();
    assert_eq!(biased, token);
}
