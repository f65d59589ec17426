//! Keys, origins, addresses.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tritburn_server::{ApiKeys, ServerOptions};

use crate::common::*;

async fn with_keys() -> Server {
    let options = ServerOptions {
        api_keys: ApiKeys::new(["first".to_string(), "second".to_string()]),
        ..local()
    };
    Server::start(&BITNET, small_engine(), options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_costs_or_tells_something_needs_a_key() {
    let server = with_keys().await;
    for path in ["/v1/models", "/v1/models/toy", "/metrics", "/props"] {
        let answer = server.get(path).send().await.unwrap();
        assert_eq!(answer.headers()["www-authenticate"], "Bearer", "{path}");
        let (status, _, message) = refusal(answer).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(!message.contains("first"), "{message}");
        let wrong = server.get(path).bearer_auth("third").send().await.unwrap();
        assert_eq!(refusal(wrong).await.0, StatusCode::UNAUTHORIZED, "{path}");
        let right = server.get(path).bearer_auth("second").send().await.unwrap();
        assert_eq!(right.status(), StatusCode::OK, "{path}");
    }
    for path in [
        "/v1/completions",
        "/v1/chat/completions",
        "/v1/embeddings",
        "/tokenize",
        "/detokenize",
    ] {
        // Before the body is read.
        let (status, ..) = server.refusal(path, &json!("no request")).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
        let body = json!({ "prompt": "a", "max_tokens": 1 });
        let right = server
            .post(path, &body)
            .bearer_auth("first")
            .send()
            .await
            .unwrap();
        assert_ne!(right.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    for path in ["/health", "/ready", "/", "/docs/", "/openapi.json"] {
        let answer = server.get(path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_may_ask_only_if_told_so() {
    let origin = "https://example.org";
    let preflight = async |server: &Server| {
        let request =
            reqwest::Client::new().request(Method::OPTIONS, server.url("/v1/completions"));
        let request = request
            .header("origin", origin)
            .header("access-control-request-method", "POST");
        let answer = request.send().await.unwrap();
        answer.headers().get("access-control-allow-origin").cloned()
    };
    let closed = Server::bitnet().await;
    assert_eq!(preflight(&closed).await, None);
    for (allowed, told) in [(origin, origin), ("*", "*")] {
        let options = ServerOptions {
            cors_origins: vec![allowed.into()],
            ..local()
        };
        let open = Server::start(&BITNET, small_engine(), options).await;
        assert_eq!(preflight(&open).await.unwrap(), told);
    }
    let options = ServerOptions {
        cors_origins: vec!["https://example.com".into()],
        ..local()
    };
    let other = Server::start(&BITNET, small_engine(), options).await;
    assert_eq!(preflight(&other).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_addresses_get_errors_of_openais_form() {
    let server = Server::bitnet().await;
    let missing = server.get("/v1/nothing").send().await.unwrap();
    assert_eq!(refusal(missing).await.0, StatusCode::NOT_FOUND);
    let method = server.get("/v1/completions").send().await.unwrap();
    assert_eq!(refusal(method).await.0, StatusCode::METHOD_NOT_ALLOWED);
    let model = server.get("/v1/models/other").send().await.unwrap();
    let (status, param, message) = refusal(model).await;
    assert_eq!(
        (status, param.as_deref()),
        (StatusCode::NOT_FOUND, Some("model"))
    );
    assert!(message.contains("toy"), "{message}");
    let body = json!({ "model": "other", "prompt": "a" });
    assert_eq!(
        server.refusal("/v1/completions", &body).await.0,
        StatusCode::NOT_FOUND
    );
    let (status, _, message) = server
        .refusal("/v1/embeddings", &json!({ "input": "a" }))
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_an_id_in_and_out() {
    let server = Server::bitnet().await;
    let given = server
        .get("/health")
        .header("x-request-id", "mine")
        .send()
        .await
        .unwrap();
    assert_eq!(given.headers()["x-request-id"], "mine");
    let made = server.get("/health").send().await.unwrap();
    assert_eq!(made.headers()["x-request-id"].len(), 36);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_and_the_documentation_describe_themselves() {
    let server = Server::bitnet().await;
    let models: Value = server
        .get("/v1/models")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(models["data"][0]["id"], "toy");
    assert_eq!(models["data"][0]["max_model_len"], 512);
    let props: Value = server
        .get("/props")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&props["n_ctx"], &props["n_vocab"], &props["chat"]),
        (&json!(512), &json!(512), &json!(true))
    );
    let api: Value = server
        .get("/openapi.json")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    for path in [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/models",
        "/tokenize",
        "/metrics",
    ] {
        assert!(api["paths"][path].is_object(), "{path}");
    }
    let fields = &api["components"]["schemas"];
    assert!(
        fields.to_string().contains("repetition_penalty"),
        "fields are described"
    );
    // The page comes compressed, which this client does not undo.
    let docs = server.get("/docs/").send().await.unwrap();
    assert!(docs.status().is_success(), "{}", docs.status());
    let kind = docs.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(kind.starts_with("text/html"), "{kind}");
}
