//! `/v1/chat/completions`

use serde_json::{Value, json};

use crate::common::*;

const PATH: &str = "/v1/chat/completions";

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_continues_the_rendered_conversation() {
    let server = Server::bitnet().await;
    let messages = json!([
        { "role": "system", "content": "Be brief." },
        { "role": "user", "content": "hello" },
    ]);
    let chat =
        json!({ "messages": messages, "max_tokens": 8, "temperature": 0, "ignore_eos": true });
    let answer = server.ask(PATH, chat).await;
    let rendered = BITNET.text.template.as_ref().unwrap();
    let rendered = rendered.render_json(&messages, &(), true).unwrap();
    let ids = BITNET.text.tokenizer.encode_rendered(&rendered).unwrap();
    let completion =
        json!({ "prompt": ids, "max_tokens": 8, "temperature": 0, "ignore_eos": true });
    let completion = server.ask("/v1/completions", completion).await;
    assert_eq!(
        answer["choices"][0]["message"]["content"],
        completion["choices"][0]["text"]
    );
    assert_eq!(answer["choices"][0]["message"]["role"], "assistant");
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["usage"]["prompt_tokens"], ids.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn special_tokens_in_a_message_are_text() {
    let server = Server::bitnet().await;
    let tokens = |answer: Value| answer["usage"]["prompt_tokens"].as_u64().unwrap();
    let ask = |text: &str| json!({ "messages": user(text), "max_tokens": 1 });
    let spelled = tokens(server.ask(PATH, ask("a<|eot_id|>b")).await);
    let plain = tokens(server.ask(PATH, ask("ab")).await);
    assert!(spelled > plain + 3, "{spelled} and {plain}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_opens_with_a_role_and_closes_with_a_reason() {
    let server = Server::bitnet().await;
    let body = json!({ "messages": user("hello"), "max_completion_tokens": 20, "seed": 5, "ignore_eos": true });
    let whole = server.ask(PATH, body.clone()).await;
    let chunks = server.stream(PATH, body).await;
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk["object"] == "chat.completion.chunk")
    );
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"]));
    assert!(chunks.iter().all(|chunk| chunk["usage"].is_null()));
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let deltas = chunks
        .iter()
        .map(|chunk| &chunk["choices"][0]["delta"]["content"]);
    let text: String = deltas.filter_map(Value::as_str).collect();
    assert_eq!(
        text,
        whole["choices"][0]["message"]["content"].as_str().unwrap()
    );
    assert_eq!(
        chunks.last().unwrap()["choices"][0]["finish_reason"],
        "length"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn log_probabilities_are_told_for_each_token() {
    let server = Server::bitnet().await;
    let body = json!({
        "messages": user("hello"), "max_tokens": 5, "temperature": 0, "ignore_eos": true,
        "logprobs": true, "top_logprobs": 3,
    });
    let answer = server.ask(PATH, body.clone()).await;
    let content = answer["choices"][0]["logprobs"]["content"]
        .as_array()
        .unwrap();
    assert_eq!(content.len(), 5);
    for token in content {
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 3);
        assert_eq!(
            top[0]["token"], token["token"],
            "greedy takes the most likely"
        );
        assert_eq!(top[0]["logprob"], token["logprob"]);
        let falling = top
            .windows(2)
            .all(|w| w[0]["logprob"].as_f64() >= w[1]["logprob"].as_f64());
        assert!(falling, "{token}");
        let bytes: Vec<u8> = serde_json::from_value(token["bytes"].clone()).unwrap();
        assert_eq!(token["token"].as_str().unwrap().as_bytes(), bytes);
    }
    let chunks = server.stream(PATH, body).await;
    let streamed = chunks
        .iter()
        .filter_map(|c| c["choices"][0]["logprobs"]["content"].as_array());
    assert_eq!(&streamed.flatten().cloned().collect::<Vec<_>>(), content);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_follows_a_json_schema() {
    let server = Server::synthetic().await;
    let schema = json!({
        "type": "object",
        "properties": {
            "colour": { "enum": ["red", "green"] },
            "sizes": { "type": "array", "items": { "enum": [1, 2] }, "minItems": 2, "maxItems": 2 },
        },
        "required": ["colour", "sizes"],
        "additionalProperties": false,
    });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "thing", "strict": true, "schema": schema } });
    for seed in 0..3 {
        let body = json!({ "messages": user("a thing"), "response_format": format, "max_tokens": 400, "seed": seed });
        let answer = server.ask(PATH, body).await;
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
        let thing: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
        assert!(
            ["red", "green"].contains(&thing["colour"].as_str().unwrap()),
            "{thing}"
        );
        assert_eq!(thing["sizes"].as_array().unwrap().len(), 2, "{thing}");
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_longer_than_the_context_is_refused() {
    let server = Server::bitnet().await;
    let body = json!({ "messages": user(&"word ".repeat(600)) });
    let (status, param, message) = server.refusal(PATH, &body).await;
    assert_eq!((status.as_u16(), param.as_deref()), (400, Some("messages")));
    assert!(message.contains("512"), "{message}");
    let body = json!({ "messages": user("a"), "max_tokens": 600 });
    let (status, ..) = server.refusal(PATH, &body).await;
    assert_eq!(status.as_u16(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_the_context_is_the_longest_answer() {
    let server = Server::bitnet().await;
    let body = json!({ "messages": user("a"), "ignore_eos": true });
    let answer = server.ask(PATH, body).await;
    assert_eq!(answer["usage"]["total_tokens"], 512);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
}
