//! `/v1/embeddings`

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tritburn_models::generate::Session;

use crate::common::*;

const PATH: &str = "/v1/embeddings";

#[tokio::test(flavor = "multi_thread")]
async fn vectors_are_those_of_the_session() {
    let server = Server::embeddings().await;
    let texts = ["a query", "a passage that is longer", "x", "y", "z"];
    let answer = server.ask(PATH, json!({ "input": texts })).await;
    let mut tokens = 0;
    for (index, text) in texts.into_iter().enumerate() {
        let mut ids = BITNET.text.tokenizer.encode_text(text).unwrap();
        ids.push(BITNET.text.stop_ids[0]);
        tokens += ids.len();
        let mut session = Session::new(BITNET.model.clone(), 1, ids.len()).unwrap();
        let expected = session.embed(&[&ids]).unwrap().remove(0);
        let vector: Vec<f32> =
            serde_json::from_value(answer["data"][index]["embedding"].clone()).unwrap();
        assert_eq!(vector.len(), expected.len());
        let far = vector
            .iter()
            .zip(&expected)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(far < 1e-5, "{text}: {far}");
        let length: f32 = vector.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-4, "{length}");
    }
    assert_eq!(answer["usage"]["prompt_tokens"], tokens);
    assert_eq!(answer["object"], "list");
}

#[tokio::test(flavor = "multi_thread")]
async fn base64_holds_the_same_numbers() {
    let server = Server::embeddings().await;
    let floats = server.ask(PATH, json!({ "input": [5, 6, 7] })).await;
    let encoded = server
        .ask(
            PATH,
            json!({ "input": [[5, 6, 7]], "encoding_format": "base64" }),
        )
        .await;
    let text = encoded["data"][0]["embedding"].as_str().unwrap();
    let bytes = STANDARD.decode(text).unwrap();
    let values = bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()));
    let floats: Vec<f32> = serde_json::from_value(floats["data"][0]["embedding"].clone()).unwrap();
    assert_eq!(values.collect::<Vec<_>>(), floats);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_embedded_is_refused() {
    let server = Server::embeddings().await;
    for (body, name) in [
        (json!({}), "input"),
        (json!({ "input": [] }), "input"),
        (json!({ "input": [[]] }), "input"),
        (json!({ "input": [100_000] }), "input"),
        (json!({ "input": "word ".repeat(600) }), "input"),
        (json!({ "input": "a", "dimensions": 3 }), "dimensions"),
        (
            json!({ "input": "a", "encoding_format": "hex" }),
            "encoding_format",
        ),
    ] {
        let (status, param, message) = server.refusal(PATH, &body).await;
        assert_eq!(
            (status.as_u16(), param.as_deref()),
            (400, Some(name)),
            "{message}"
        );
    }
    let size = BITNET.model.config().hidden_size;
    server
        .ask(PATH, json!({ "input": "a", "dimensions": size }))
        .await;
    let (status, _, message) = server
        .refusal("/v1/completions", &json!({ "prompt": "a" }))
        .await;
    assert_eq!(status.as_u16(), 400);
    assert!(message.contains("embeddings"), "{message}");
    let props: Value = server
        .get("/props")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(props["embeddings"], true);
}
