//! Several engines behind one queue.

use serde_json::json;

use crate::common::*;

const PATH: &str = "/v1/completions";

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_spread_over_engines() {
    let server = Server::with_engines(&BITNET, vec![small_engine(), small_engine()], local()).await;
    let body = |n: usize| json!({ "prompt": [n, 5, 6], "max_tokens": 150, "ignore_eos": true });
    let answers = (0..12).map(|n| server.ask(PATH, body(n)));
    futures_util::future::join_all(answers).await;
    let tokens = server
        .engines
        .iter()
        .map(|engine| engine.stats().generated_tokens);
    let tokens: Vec<_> = tokens.collect();
    assert_eq!(tokens.iter().sum::<u64>(), 12 * 150);
    assert!(tokens.iter().all(|&tokens| tokens >= 4 * 150), "{tokens:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_engine_that_fails_takes_only_its_own_streams() {
    let server =
        Server::with_engines(&SYNTHETIC, vec![small_engine(), small_engine()], local()).await;
    let body = json!({ "prompt": "a", "max_tokens": 1500, "ignore_eos": true, "stream": true });
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(server.post(PATH, &body).send().await.unwrap());
    }
    server.engines[0].inject_failure("the device is on fire");
    let all = futures_util::future::join_all(streams.into_iter().map(events)).await;
    let done = all
        .iter()
        .filter(|events| events.last().unwrap() == "[DONE]")
        .count();
    let failed = all
        .iter()
        .filter(|events| events.last().unwrap().contains("on fire"))
        .count();
    assert_eq!((done, failed), (2, 2));

    let ready = server.get("/ready").send().await.unwrap();
    assert_eq!(ready.status().as_u16(), 200, "the other engine goes on");
    let ready: serde_json::Value = ready.json().await.unwrap();
    assert_eq!(ready["engines"], json!([false, true]));
    assert_eq!(server.metric("tritburn:engine_alive").await, 1.0);
    for _ in 0..3 {
        server
            .ask(
                PATH,
                json!({ "prompt": "a", "max_tokens": 2, "ignore_eos": true }),
            )
            .await;
    }
}
