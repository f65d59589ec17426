//! The crate `async-openai` as a client: what it sends is taken, what comes back has its types.

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::OpenAIError;
use async_openai::types::chat::{
    ChatCompletionMessageToolCalls, CreateChatCompletionRequest, FinishReason,
};
use async_openai::types::completions::CreateCompletionRequest;
use async_openai::types::embeddings::CreateEmbeddingRequest;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tritburn_server::{ApiKeys, ServerOptions};

use crate::common::*;

fn client(server: &Server, key: &str) -> Client<OpenAIConfig> {
    let config = OpenAIConfig::new()
        .with_api_key(key)
        .with_api_base(server.url("/v1"));
    Client::with_config(config)
}

fn request<T: DeserializeOwned>(mut request: Value) -> T {
    request["model"] = json!("toy");
    serde_json::from_value(request).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn chats_whole_and_streamed() {
    let server = Server::bitnet().await;
    let client = client(&server, "any");
    let asked = json!({
        "messages": [{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "hello" }],
        "max_completion_tokens": 12, "seed": 4, "logprobs": true, "top_logprobs": 2, "n": 2,
    });
    let answer = client.chat().create(request(asked.clone())).await.unwrap();
    assert_eq!(answer.choices.len(), 2);
    let usage = answer.usage.unwrap();
    assert_eq!(
        usage.total_tokens,
        usage.prompt_tokens + usage.completion_tokens
    );
    let logprobs = answer.choices[0].logprobs.as_ref().unwrap();
    assert_eq!(logprobs.content.as_ref().unwrap()[0].top_logprobs.len(), 2);

    let mut streamed: CreateChatCompletionRequest = request(asked);
    streamed.stream_options = serde_json::from_value(json!({ "include_usage": true })).unwrap();
    let mut stream = client.chat().create_stream(streamed).await.unwrap();
    let mut texts = [String::new(), String::new()];
    let mut last = None;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.unwrap();
        for choice in &chunk.choices {
            texts[choice.index as usize] += choice.delta.content.as_deref().unwrap_or_default();
        }
        last = chunk.usage;
    }
    assert_eq!(last.unwrap().completion_tokens, usage.completion_tokens);
    for (text, choice) in texts.iter().zip(&answer.choices) {
        assert_eq!(Some(text), choice.message.content.as_ref());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_and_schemas() {
    let server = Server::synthetic().await;
    let client = client(&server, "any");
    let parameters = json!({
        "type": "object", "properties": { "unit": { "enum": ["C", "F"] } }, "required": ["unit"],
        "additionalProperties": false,
    });
    let tool =
        json!({ "type": "function", "function": { "name": "weather", "parameters": parameters } });
    let asked = json!({
        "messages": user("rain?"), "tools": [tool], "tool_choice": "required", "max_completion_tokens": 400,
    });
    let answer = client.chat().create(request(asked.clone())).await.unwrap();
    let choice = &answer.choices[0];
    assert_eq!(choice.finish_reason, Some(FinishReason::ToolCalls));
    let calls = choice.message.tool_calls.as_ref().unwrap();
    let ChatCompletionMessageToolCalls::Function(call) = &calls[0] else {
        panic!("{calls:?}");
    };
    assert_eq!(call.function.name, "weather");
    let arguments: Value = serde_json::from_str(&call.function.arguments).unwrap();
    assert!(arguments["unit"].is_string(), "{arguments}");

    let mut stream = client.chat().create_stream(request(asked)).await.unwrap();
    let mut streamed = Vec::new();
    while let Some(chunk) = stream.next().await {
        for choice in chunk.unwrap().choices {
            streamed.extend(choice.delta.tool_calls.unwrap_or_default());
        }
    }
    assert_eq!(streamed.len(), 1);
    assert_eq!(
        streamed[0].function.as_ref().unwrap().name.as_deref(),
        Some("weather")
    );

    let format = json!({
        "type": "json_schema",
        "json_schema": { "name": "unit", "strict": true, "schema": parameters },
    });
    let asked = json!({ "messages": user("unit?"), "response_format": format, "max_completion_tokens": 400 });
    let answer = client.chat().create(request(asked)).await.unwrap();
    let text = answer.choices[0].message.content.as_ref().unwrap();
    let value: Value = serde_json::from_str(text).unwrap();
    assert!(value["unit"].is_string(), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_models_and_embeddings() {
    let server = Server::bitnet().await;
    let client = client(&server, "any");
    let models = client.models().list().await.unwrap();
    assert_eq!(models.data[0].id, "toy");
    let asked: CreateCompletionRequest =
        request(json!({ "prompt": ["one", "two"], "max_tokens": 5, "logprobs": 1, "seed": 3 }));
    let answer = client.completions().create(asked).await.unwrap();
    assert_eq!(answer.choices.len(), 2);
    assert!(answer.choices[0].logprobs.is_some());

    let server = Server::embeddings().await;
    let client = self::client(&server, "any");
    let asked: CreateEmbeddingRequest = request(json!({ "input": ["a", "b"] }));
    let answer = client.embeddings().create(asked).await.unwrap();
    assert_eq!(answer.data.len(), 2);
    assert_eq!(
        answer.data[1].embedding.len(),
        BITNET.model.config().hidden_size
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_the_form_that_it_reads() {
    let options = ServerOptions {
        api_keys: ApiKeys::new(["right".to_string()]),
        ..local()
    };
    let server = Server::start(&BITNET, small_engine(), options).await;
    let error = async |key: &str, body: Value| {
        let asked: CreateChatCompletionRequest = request(body);
        match client(&server, key).chat().create(asked).await.unwrap_err() {
            OpenAIError::ApiError(error) => (error.status_code.as_u16(), error.api_error),
            other => panic!("{other:?}"),
        }
    };
    let (status, body) = error("wrong", json!({ "messages": user("a") })).await;
    assert_eq!(
        (status, body.code.as_deref()),
        (401, Some("invalid_api_key"))
    );
    let (status, body) = error(
        "right",
        json!({ "messages": user("a"), "verbosity": "low" }),
    )
    .await;
    assert_eq!((status, body.param.as_deref()), (400, Some("verbosity")));
    let (status, body) = error("right", json!({ "messages": user(&"a ".repeat(900)) })).await;
    assert_eq!(
        (status, body.code.as_deref()),
        (400, Some("context_length_exceeded"))
    );
    let image = json!([{ "role": "user", "content": [
        { "type": "image_url", "image_url": { "url": "https://example.org/a.png" } },
    ] }]);
    let (status, body) = error("right", json!({ "messages": image })).await;
    assert_eq!(
        (status, body.param.as_deref()),
        (400, Some("messages[0].content[0]"))
    );
}
