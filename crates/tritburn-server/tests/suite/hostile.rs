//! Clients that err, or mean harm: the server answers or closes, and others go on.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tritburn_models::engine::EngineOptions;
use tritburn_server::ServerOptions;

use crate::common::*;

const PATH: &str = "/v1/completions";

/// Sends bytes and returns what comes back until the server closes, within 10 s.
async fn raw(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // A server that has seen enough may close while it is being written to.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    assert!(
        read.is_ok(),
        "neither answered nor closed: {}",
        String::from_utf8_lossy(&answer)
    );
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(body: &[u8]) -> Vec<u8> {
    post_to(PATH, body)
}

fn post_to(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

async fn still_answers(server: &Server) {
    let answer = server.ask(
        PATH,
        json!({ "prompt": "a", "max_tokens": 2, "ignore_eos": true }),
    );
    let answer = timeout(Duration::from_secs(20), answer)
        .await
        .expect("others go on");
    assert_eq!(answer["usage"]["completion_tokens"], 2);
}

fn quick() -> ServerOptions {
    ServerOptions {
        client_time: Duration::from_millis(500),
        ..local()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_requests_are_refused() {
    let server = Server::bitnet().await;
    let deep = [b"{\"prompt\":".as_slice(), &b"[".repeat(100_000)].concat();
    let bodies: [&[u8]; 10] = [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{\"prompt\": \"a\", \"temperature\": NaN}",
        b"{\"prompt\": \"a\", \"temperature\": -1}",
        b"{\"prompt\": \"a\", \"max_tokens\": 1e99}",
        b"{\"prompt\": \"\xff\xfe\"}",
        b"{\"prompt\": \"\\ud800\"}",
        &deep,
    ];
    for body in bodies {
        let answer = raw(&server, &post(body)).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert!(answer.starts_with("HTTP/1.1 400"), "{shown}: {answer}");
        assert!(answer.contains("\"error\""), "{shown}: {answer}");
    }
    for prompt in [
        json!([100_000]),
        json!([]),
        json!([[]]),
        json!(vec![1; 513]),
    ] {
        let body = json!({ "prompt": prompt, "max_tokens": 1 });
        let (status, param, _) = server.refusal(PATH, &body).await;
        assert_eq!(
            (status, param.as_deref()),
            (StatusCode::BAD_REQUEST, Some("prompt")),
            "{body}"
        );
    }
    still_answers(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_has_to_say_that_it_is_json() {
    let server = Server::bitnet().await;
    let client = reqwest::Client::new();
    for kind in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let request = client.post(server.url(PATH)).header("content-type", kind);
        let answer = request.body(r#"{"prompt": "a"}"#).send().await.unwrap();
        assert_eq!(
            answer.status(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "{kind:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_are_refused_announced_or_not() {
    let options = ServerOptions {
        max_body: 10_000,
        ..local()
    };
    let server = Server::start(&BITNET, small_engine(), options).await;
    let announced = format!(
        "POST {PATH} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: 99999999999\r\n\r\n"
    );
    let answer = raw(&server, announced.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let mut chunked = format!(
        "POST {PATH} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    for _ in 0..11 {
        chunked.extend(format!("3e8\r\n{}\r\n", "a".repeat(1000)).bytes());
    }
    chunked.extend(b"0\r\n\r\n");
    let answer = raw(&server, &chunked).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    still_answers(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_closed() {
    let server = Server::start(&BITNET, small_engine(), quick()).await;
    let flood = format!(
        "GET /health HTTP/1.1\r\nhost: a\r\n{}\r\n",
        "x: y\r\n".repeat(5000)
    );
    let long = format!(
        "GET /health HTTP/1.1\r\nhost: {}\r\n\r\n",
        "a".repeat(1 << 20)
    );
    let address = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(1 << 20));
    for bytes in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(),
        b"\0\0\0\0\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        flood.as_bytes(),
        long.as_bytes(),
        address.as_bytes(),
    ] {
        let answer = raw(&server, bytes).await;
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        assert!(refused, "{}", &answer[..answer.len().min(200)]);
    }
    still_answers(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_writers_and_silent_connections_are_closed() {
    let server = Server::start(&BITNET, small_engine(), quick()).await;
    let started = Instant::now();
    // Nothing at all; half a head; a head whose body never comes.
    assert_eq!(raw(&server, b"").await, "");
    raw(&server, b"GET /health HTTP/1.1\r\nhost:").await;
    let head = "POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{";
    let answer = raw(&server, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );

    // A letter now and then does not help.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut written = 0;
    while written < 49 && stream.write_all(b" ").await.is_ok() {
        written += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(5), stream.read_to_end(&mut answer))
        .await
        .unwrap();
    assert!(String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 408"));
    still_answers(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_there_are_places_are_closed() {
    let options = ServerOptions {
        max_connections: 20,
        client_time: Duration::from_secs(2),
        ..local()
    };
    let server = Server::start(&BITNET, small_engine(), options).await;
    let mut held = Vec::new();
    for _ in 0..300 {
        held.push(TcpStream::connect(server.address).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut open = 0;
    for stream in &mut held {
        let mut byte = [0];
        match timeout(Duration::from_millis(5), stream.read(&mut byte)).await {
            Err(_) => open += 1,
            Ok(closed) => assert!(closed.is_err() || closed.is_ok_and(|n| n == 0)),
        }
    }
    assert_eq!(open, 20);
    drop(held);
    tokio::time::sleep(Duration::from_millis(100)).await;
    still_answers(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_cancels_its_request() {
    let server = Server::bitnet().await;
    for stream in [true, false] {
        let before = server.engines[0].stats().finished_cancelled;
        let body =
            json!({ "prompt": "a", "max_tokens": 500, "ignore_eos": true, "stream": stream });
        let mut connection = TcpStream::connect(server.address).await.unwrap();
        connection
            .write_all(&post(body.to_string().as_bytes()))
            .await
            .unwrap();
        while server.engines[0].stats().running == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(connection);
        server.idle().await;
        let cancelled = server.engines[0].stats().finished_cancelled - before;
        assert_eq!(cancelled, 1, "stream: {stream}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_reading_is_cut_off_and_holds_up_nobody() {
    let options = ServerOptions {
        client_time: Duration::from_millis(700),
        ..local()
    };
    let server = Server::start(&SYNTHETIC, small_engine(), options).await;
    // More than the system's buffers hold: log probabilities are long.
    let body = json!({
        "messages": user("a"), "n": 8, "max_tokens": 900, "ignore_eos": true, "stream": true,
        "logprobs": true, "top_logprobs": 20,
    });
    let request = post_to("/v1/chat/completions", body.to_string().as_bytes());
    let mut connection = TcpStream::connect(server.address).await.unwrap();
    connection.write_all(&request).await.unwrap();
    let mut first = [0; 64];
    connection.read_exact(&mut first).await.unwrap();
    still_answers(&server).await;
    server.idle().await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let mut rest = Vec::new();
    let read = timeout(Duration::from_secs(5), connection.read_to_end(&mut rest)).await;
    assert!(read.is_ok(), "the connection is closed");
    let all = String::from_utf8_lossy(&rest);
    assert!(
        !all.contains("[DONE]"),
        "{} bytes came, the whole answer",
        all.len()
    );
    still_answers(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_and_those_in_it_are_answered() {
    let engine = EngineOptions {
        max_sequences: 1,
        max_waiting: 2,
        ..small_engine()
    };
    let server = Server::start(&BITNET, engine, local()).await;
    let body = json!({ "prompt": "a", "max_tokens": 200, "ignore_eos": true });
    let asked: Vec<_> = (0..24).map(|_| server.post(PATH, &body).send()).collect();
    let answers = futures_util::future::join_all(asked).await;
    let statuses: Vec<_> = answers
        .iter()
        .map(|a| a.as_ref().unwrap().status().as_u16())
        .collect();
    assert!(
        statuses.iter().all(|status| [200, 429].contains(status)),
        "{statuses:?}"
    );
    assert!(statuses.contains(&429) && statuses.iter().filter(|s| **s == 200).count() >= 3);
    for answer in answers {
        let answer = answer.unwrap();
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(answer.headers()["retry-after"], "1");
        }
    }
    assert!(server.metric("tritburn:refused_requests_total").await >= 1.0);
    still_answers(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_takes_too_long_is_an_error() {
    let options = ServerOptions {
        request_time: Some(Duration::from_millis(30)),
        ..local()
    };
    let server = Server::start(&SYNTHETIC, small_engine(), options).await;
    let body = json!({ "prompt": "a", "max_tokens": 3000, "ignore_eos": true });
    let (status, _, message) = server.refusal(PATH, &body).await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT, "{message}");
    let mut body = body;
    body["stream"] = json!(true);
    let events = events(server.post(PATH, &body).send().await.unwrap()).await;
    let last = events.last().unwrap();
    assert!(last.contains("deadline_exceeded"), "{last}");
}
