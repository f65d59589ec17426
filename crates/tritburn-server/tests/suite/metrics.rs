//! `/metrics`, `/health`, `/ready`

use serde_json::{Value, json};

use crate::common::*;

const NAMES: [&str; 17] = [
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:kv_cache_usage_perc",
    "vllm:prefix_cache_queries_total",
    "vllm:prefix_cache_hits_total",
    "vllm:num_preemptions_total",
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
    "vllm:request_success_total",
    "vllm:time_to_first_token_seconds_bucket",
    "vllm:inter_token_latency_seconds_bucket",
    "vllm:e2e_request_latency_seconds_bucket",
    "vllm:request_queue_time_seconds_bucket",
    "vllm:request_prompt_tokens_bucket",
    "vllm:request_generation_tokens_bucket",
    "vllm:iteration_tokens_total_bucket",
    "tritburn:engine_alive",
];

#[tokio::test(flavor = "multi_thread")]
async fn dashboards_of_vllm_find_their_numbers() {
    let server = Server::bitnet().await;
    let prompt = vec![7; 40];
    let body = json!({ "prompt": prompt, "max_tokens": 10, "n": 2, "ignore_eos": true });
    server.ask("/v1/completions", body.clone()).await;
    server.ask("/v1/completions", body).await;
    let text = server.get("/metrics").send().await.unwrap();
    let kind = text.headers()["content-type"].to_str().unwrap().to_string();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let text = text.text().await.unwrap();
    for name in NAMES {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name}{{")));
        let line = line.unwrap_or_else(|| panic!("{name} is missing in\n{text}"));
        assert!(line.contains(r#"model_name="toy""#), "{line}");
    }
    assert!(text.ends_with("# EOF\n"));
    assert_eq!(server.metric("vllm:generation_tokens_total").await, 40.0);
    assert_eq!(server.metric("vllm:request_success_total").await, 4.0);
    assert_eq!(
        server
            .metric("vllm:time_to_first_token_seconds_count")
            .await,
        4.0
    );
    assert_eq!(
        server
            .metric("vllm:inter_token_latency_seconds_count")
            .await,
        36.0
    );
    assert_eq!(
        server.metric("vllm:request_generation_tokens_sum").await,
        40.0
    );
    assert!(
        server.metric("vllm:prefix_cache_hits_total").await > 0.0,
        "the second prompt was there"
    );
    server.idle().await;
    assert_eq!(server.metric("vllm:num_requests_running").await, 0.0);
    assert_eq!(server.metric("tritburn:engine_alive").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_fails_is_told() {
    let server = Server::synthetic().await;
    let ready = server.get("/ready").send().await.unwrap();
    assert_eq!(ready.status().as_u16(), 200);
    let body = json!({ "prompt": "a", "max_tokens": 3000, "ignore_eos": true, "stream": true });
    let streaming = server.post("/v1/completions", &body).send().await.unwrap();
    server.engines[0].inject_failure("the device is on fire");
    let events = events(streaming).await;
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert!(
        last["error"]["message"]
            .as_str()
            .unwrap()
            .contains("on fire"),
        "{last}"
    );
    assert_eq!(last["error"]["code"], "engine_failed");

    let ready = server.get("/ready").send().await.unwrap();
    assert_eq!(ready.status().as_u16(), 503);
    let ready: Value = ready.json().await.unwrap();
    assert_eq!(ready["status"], "engine failed");
    assert_eq!(
        server
            .get("/health")
            .send()
            .await
            .unwrap()
            .status()
            .as_u16(),
        200
    );
    assert_eq!(server.metric("tritburn:engine_alive").await, 0.0);
    let (status, _, message) = server
        .refusal("/v1/completions", &json!({ "prompt": "a" }))
        .await;
    assert_eq!(status.as_u16(), 503, "{message}");
}
