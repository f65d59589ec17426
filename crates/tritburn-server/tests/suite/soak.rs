//! Full load for minutes: `cargo test -p tritburn-server --release -- --ignored soak --nocapture`.

use std::fs;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;
use tritburn_models::engine::EngineOptions;

use crate::common::*;

const STREAMS: u64 = 64;

/// How long, in seconds.
fn length() -> Duration {
    let seconds = std::env::var("TRITBURN_SOAK_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok());
    Duration::from_secs(seconds.unwrap_or(120))
}

/// Bytes that the process holds.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[derive(Debug, Default)]
struct Counts {
    whole: u64,
    cancelled: u64,
    tokens: u64,
}

/// Asks again and again, and goes away in the middle of every third answer.
async fn client(server: &Server, number: u64, expected: &[String], until: Instant) -> Counts {
    let mut random = StdRng::seed_from_u64(number);
    let mut counts = Counts::default();
    while Instant::now() < until {
        let which = random.random_range(0..expected.len());
        let body = json!({
            "prompt": [which + 10, 7, 9], "max_tokens": 48, "temperature": 0, "ignore_eos": true, "stream": true,
        });
        let answer = server.post("/v1/completions", &body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        let cut = random.random_bool(0.33).then(|| random.random_range(1..40));
        let mut bytes = answer.bytes_stream();
        let mut text = String::new();
        let mut pieces = 0;
        while let Some(piece) = bytes.next().await {
            text += std::str::from_utf8(&piece.unwrap()).unwrap();
            pieces += 1;
            if cut.is_some_and(|cut| pieces > cut) {
                break;
            }
        }
        let events = data(&text);
        if events.last().map(String::as_str) != Some("[DONE]") {
            assert!(cut.is_some(), "an answer was lost: {events:?}");
            counts.cancelled += 1;
            continue;
        }
        let whole: String = events[..events.len() - 1]
            .iter()
            .map(|event| {
                let chunk: serde_json::Value = serde_json::from_str(event).unwrap();
                chunk["choices"][0]["text"].as_str().unwrap().to_string()
            })
            .collect();
        assert_eq!(whole, expected[which], "an answer was mixed with another");
        counts.whole += 1;
        counts.tokens += 48;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn soak_of_64_streams_with_cancellations_loses_and_mixes_nothing() {
    let engine = EngineOptions {
        max_sequences: 32,
        cache_tokens: Some(4096),
        ..small_engine()
    };
    let server = Server::start(&SYNTHETIC, engine, local()).await;
    let mut expected = Vec::new();
    for which in 0..8 {
        let body = json!({ "prompt": [which + 10, 7, 9], "max_tokens": 48, "temperature": 0, "ignore_eos": true });
        let answer = server.ask("/v1/completions", body).await;
        expected.push(answer["choices"][0]["text"].as_str().unwrap().to_string());
    }
    let started = Instant::now();
    let until = started + length();
    let clients = (0..STREAMS).map(|number| client(&server, number, &expected, until));
    let watch = async {
        let mut seen = Vec::new();
        while Instant::now() < until {
            tokio::time::sleep(Duration::from_secs(1).min(length() / 20)).await;
            seen.push(resident());
        }
        seen
    };
    let (counts, memory) = tokio::join!(futures_util::future::join_all(clients), watch);
    let sum = |of: fn(&Counts) -> u64| counts.iter().map(of).sum::<u64>();
    let (whole, cancelled, tokens) = (sum(|c| c.whole), sum(|c| c.cancelled), sum(|c| c.tokens));
    // The first quarter fills caches and pools.
    let steady = &memory[memory.len() / 4..];
    let mean = |part: &[u64]| part.iter().sum::<u64>() as f64 / part.len() as f64;
    let (early, late) = (
        mean(&steady[..steady.len() / 3]),
        mean(&steady[steady.len() * 2 / 3..]),
    );
    println!(
        "{whole} whole answers, {cancelled} cancelled, {:.0} tokens/s of whole ones; resident {:.1} MB early, {:.1} MB late",
        tokens as f64 / started.elapsed().as_secs_f64(),
        early / 1e6,
        late / 1e6,
    );
    assert!(counts.iter().all(|c| c.whole > 0), "everybody is served");
    assert!(cancelled > 0);
    assert!(
        (late / early - 1.0).abs() < 0.05,
        "memory went from {early} to {late} bytes"
    );
    server.idle().await;
}
