//! Functions that a model may call.

use serde_json::{Value, json};

use crate::common::*;

const PATH: &str = "/v1/chat/completions";

fn tools() -> Value {
    let parameters = json!({
        "type": "object",
        "properties": { "unit": { "enum": ["C", "F"] }, "days": { "enum": [1, 2, 3] } },
        "required": ["unit", "days"],
        "additionalProperties": false,
    });
    let weather =
        json!({ "name": "weather", "description": "Tells the weather", "parameters": parameters });
    let clock = json!({ "name": "clock", "parameters": { "type": "object", "additionalProperties": false } });
    json!([{ "type": "function", "function": weather }, { "type": "function", "function": clock }])
}

fn check(call: &Value) {
    assert_eq!(call["type"], "function");
    assert!(call["id"].as_str().unwrap().starts_with("call_"));
    assert_eq!(call["function"]["name"], "weather");
    let arguments = call["function"]["arguments"].as_str().unwrap();
    let arguments: Value = serde_json::from_str(arguments).unwrap();
    assert!(
        ["C", "F"].contains(&arguments["unit"].as_str().unwrap()),
        "{arguments}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_required_is_made_and_follows_its_schema() {
    let server = Server::synthetic().await;
    let named = json!({ "type": "function", "function": { "name": "weather" } });
    let body = json!({ "messages": user("rain?"), "tools": tools(), "tool_choice": named, "max_tokens": 500, "seed": 2 });
    let answer = server.ask(PATH, body.clone()).await;
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["content"], Value::Null);
    let calls = choice["message"]["tool_calls"].as_array().unwrap();
    assert_eq!(calls.len(), 1);
    check(&calls[0]);

    let chunks = server.stream(PATH, body).await;
    let deltas: Vec<_> = chunks.iter().map(|chunk| &chunk["choices"][0]).collect();
    let calls: Vec<_> = deltas
        .iter()
        .filter_map(|d| d["delta"]["tool_calls"].as_array())
        .flatten()
        .collect();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0]["index"], 0);
    check(calls[0]);
    assert_eq!(deltas.last().unwrap()["finish_reason"], "tool_calls");
    let text: String = deltas
        .iter()
        .filter_map(|d| d["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn required_calls_any_of_the_functions() {
    let server = Server::synthetic().await;
    let body = json!({ "messages": user("now"), "tools": tools(), "tool_choice": "required", "max_tokens": 500 });
    let answer = server.ask(PATH, body).await;
    let call = &answer["choices"][0]["message"]["tool_calls"][0];
    let name = call["function"]["name"].as_str().unwrap();
    assert!(["weather", "clock"].contains(&name), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_are_part_of_the_prompt_and_their_results_too() {
    let server = Server::synthetic().await;
    let tokens = |answer: Value| answer["usage"]["prompt_tokens"].as_u64().unwrap();
    let plain = json!({ "messages": user("rain?"), "max_tokens": 4, "seed": 1 });
    let mut with = plain.clone();
    with["tools"] = tools();
    let mut without = with.clone();
    without["tool_choice"] = json!("none");
    let plain = tokens(server.ask(PATH, plain).await);
    assert_eq!(
        tokens(server.ask(PATH, without).await),
        plain,
        "none leaves them out"
    );
    assert!(tokens(server.ask(PATH, with.clone()).await) > plain + 100);

    let function = json!({ "name": "weather", "arguments": "{\"unit\": \"C\", \"days\": 1}" });
    with["messages"] = json!([
        { "role": "user", "content": "rain?" },
        { "role": "assistant", "content": null, "tool_calls": [{ "id": "call_1", "type": "function", "function": function }] },
        { "role": "tool", "tool_call_id": "call_1", "content": "no" },
    ]);
    server.ask(PATH, with).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_that_a_template_does_not_mention_are_refused() {
    let server = Server::bitnet().await;
    let body = json!({ "messages": user("rain?"), "tools": tools() });
    let (status, param, message) = server.refusal(PATH, &body).await;
    assert_eq!(
        (status.as_u16(), param.as_deref()),
        (400, Some("tools")),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_structure_leaves_no_room_for_calls() {
    let server = Server::synthetic().await;
    let mut body = json!({ "messages": user("rain?"), "tools": tools(), "max_tokens": 200 });
    body["response_format"] = json!({ "type": "json_object" });
    let (status, param, _) = server.refusal(PATH, &body).await;
    assert_eq!(
        (status.as_u16(), param.as_deref()),
        (400, Some("response_format"))
    );
}
