//! The end of a server.

use std::time::{Duration, Instant};

use reqwest::Response;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tritburn_server::{Ended, ServerOptions};

use crate::common::*;

const PATH: &str = "/v1/completions";

/// An answer that has begun.
async fn streaming(server: &Server, tokens: usize) -> Response {
    let body = json!({ "prompt": "a", "max_tokens": tokens, "ignore_eos": true, "stream": true });
    let answer = server.post(PATH, &body).send().await.unwrap();
    while server.engines[0].stats().generated_tokens == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn running_requests_are_finished_and_new_ones_are_refused() {
    let server = Server::synthetic().await;
    let answer = streaming(&server, 600).await;
    // A connection that asks for nothing does not hold up the end.
    let idle = TcpStream::connect(server.address).await.unwrap();
    server.stop.send(()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!server.state.is_ready());
    let refused = server.get("/ready").send().await;
    assert!(refused.is_err(), "no new connections: {refused:?}");
    let events = events(answer).await;
    assert_eq!(events.last().unwrap(), "[DONE]");
    let ended = timeout(Duration::from_secs(10), server.ended)
        .await
        .expect("it ends");
    assert_eq!(ended.unwrap().unwrap(), Ended::Answered);
    drop(idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_on_open_connections_are_refused_while_shutting_down() {
    let server = Server::synthetic().await;
    server.state.drain();
    let (status, _, message) = server.refusal(PATH, &json!({ "prompt": "a" })).await;
    assert_eq!(status.as_u16(), 503, "{message}");
    let ready = server.get("/ready").send().await.unwrap();
    assert_eq!(ready.status().as_u16(), 503);
    assert!(ready.text().await.unwrap().contains("shutting down"));
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
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_longer_than_the_grace_ends_with_an_error() {
    let options = ServerOptions {
        grace: Duration::from_millis(50),
        ..local()
    };
    let server = Server::start(&SYNTHETIC, small_engine(), options).await;
    let answer = streaming(&server, 4000).await;
    let started = Instant::now();
    server.stop.send(()).await.unwrap();
    let events = timeout(Duration::from_secs(10), events(answer))
        .await
        .expect("it ends");
    let last = events.last().unwrap();
    assert!(
        last.contains("\"error\"") && last.contains("shut down"),
        "{last}"
    );
    let ended = timeout(Duration::from_secs(10), server.ended)
        .await
        .expect("it ends");
    assert_eq!(ended.unwrap().unwrap(), Ended::Cut);
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_message_ends_at_once() {
    let server = Server::synthetic().await;
    let answer = streaming(&server, 4000).await;
    let started = Instant::now();
    server.stop.send(()).await.unwrap();
    server.stop.send(()).await.unwrap();
    let ended = timeout(Duration::from_secs(5), server.ended)
        .await
        .expect("it ends");
    assert_eq!(ended.unwrap().unwrap(), Ended::Cut);
    let events = timeout(Duration::from_secs(5), events(answer))
        .await
        .expect("it is cut");
    assert_ne!(events.last().map(String::as_str), Some("[DONE]"));
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
}
