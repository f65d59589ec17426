//! `tritburn serve` as a process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::*;

/// A server that is killed when the test ends.
pub struct Served {
    pub child: Child,
    pub port: u16,
}

impl Served {
    /// Starts `tritburn serve` and waits until it listens.
    pub fn start(args: &[&str]) -> Self {
        let mut child = command(args).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let said = lines.find_map(|line| {
            let line = line.unwrap();
            let (_, rest) = line.split_once("://127.0.0.1:")?;
            rest.split([' ', '/']).next()?.parse().ok()
        });
        let port = said.expect("it says where it listens");
        // A full pipe would stop its log, and with it the server.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, port }
    }

    /// The whole answer to a request, head and body, as far as it comes.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> String {
        ask(self.port, method, path, body)
    }

    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tritburn"));
    command
        .arg("serve")
        .args(args)
        .env_remove("TRITBURN_LOG")
        .env_remove("TRITBURN_API_KEY")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// The whole answer to a request, head and body, as far as it comes.
pub fn ask(port: u16, method: &str, path: &str, body: &str) -> String {
    rest(send(port, method, path, body))
}

/// A connection on which a request was sent.
pub fn send(port: u16, method: &str, path: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// What still comes on a connection.
pub fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A server that is killed cuts this short.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// The JSON of an answer that has to be one.
pub fn body(answer: &str) -> Value {
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

#[test]
fn the_lines_of_the_readme_give_text() {
    let server = Served::start(&["--synthetic", "tiny", "--port", "0"]);
    let request = json!({ "messages": [{ "role": "user", "content": "Hello" }], "max_tokens": 12 });
    let answer = body(&server.ask("POST", "/v1/chat/completions", &request.to_string()));
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.split_whitespace().count() >= 3, "{text:?}");
    assert_eq!(answer["model"], "tiny");
    let models = body(&server.ask("GET", "/v1/models", ""));
    assert_eq!(models["data"][0]["id"], "tiny");
}

#[test]
fn a_folder_is_served_by_its_name_with_keys_and_two_engines() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "# ours\nsecret\n").unwrap();
    let model = toy("packed");
    let args = [
        "-m",
        path(&model),
        "--port",
        "0",
        "--devices",
        "0,1",
        "--api-key-file",
        path(&keys),
        "--context",
        "128",
    ];
    let server = Served::start(&args);
    let refused = server.ask("GET", "/props", "");
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    let ready = body(&server.ask("GET", "/ready", ""));
    assert_eq!(ready["engines"], json!([true, true]));
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    let request = "GET /props HTTP/1.1\r\nhost: a\r\nconnection: close\r\nauthorization: Bearer secret\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let props = body(&answer);
    assert_eq!(
        (&props["model"], &props["n_ctx"], &props["engines"]),
        (&json!("packed"), &json!(128), &json!(2))
    );
}

#[test]
fn embeddings_are_served_where_asked_for() {
    let model = toy("packed");
    let server = Served::start(&["-m", path(&model), "--port", "0", "--embeddings"]);
    let answer = body(&server.ask("POST", "/v1/embeddings", r#"{"input": "a query"}"#));
    let served: Vec<f64> = serde_json::from_value(answer["data"][0]["embedding"].clone()).unwrap();
    let line = json(&["embed", "-m", path(&model), "--text", "a query"]);
    let embedded: Vec<f64> = serde_json::from_value(line["embedding"].clone()).unwrap();
    assert_eq!(served.len(), embedded.len());
    assert!(
        served
            .iter()
            .zip(&embedded)
            .all(|(a, b)| (a - b).abs() < 1e-6)
    );
}

#[test]
fn a_killed_server_starts_again_on_its_port() {
    let server = Served::start(&["--synthetic", "tiny", "--port", "0"]);
    let port = server.port.to_string();
    server.signal("-KILL");
    drop(server);
    let started = Instant::now();
    let server = Served::start(&["--synthetic", "tiny", "--port", &port]);
    body(&server.ask("GET", "/ready", ""));
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn sigterm_finishes_what_runs_and_a_second_one_ends_at_once() {
    let request =
        json!({ "prompt": "a", "max_tokens": 100, "ignore_eos": true, "stream": true }).to_string();
    let running = |server: &Served| {
        let (port, request) = (server.port, request.clone());
        let asking = std::thread::spawn(move || ask(port, "POST", "/v1/completions", &request));
        std::thread::sleep(Duration::from_millis(60));
        asking
    };
    let mut server = Served::start(&["--synthetic", "tiny", "--port", "0"]);
    let asking = running(&server);
    server.signal("-TERM");
    assert!(asking.join().unwrap().contains("[DONE]"));
    assert!(server.child.wait().unwrap().success());

    let long = request.replace("100", "100000");
    let mut server = Served::start(&["--synthetic", "tiny", "--port", "0", "--grace", "60"]);
    let port = server.port;
    let asking = std::thread::spawn(move || {
        ask(
            port,
            "POST",
            "/v1/completions",
            &long.replace("100000", "400"),
        )
    });
    std::thread::sleep(Duration::from_millis(30));
    server.signal("-INT");
    std::thread::sleep(Duration::from_millis(10));
    server.signal("-INT");
    let started = Instant::now();
    server.child.wait().unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    asking.join().unwrap();
}

#[test]
fn logs_are_json_with_request_ids_and_without_prompts() {
    let mut child = command(&["--synthetic", "tiny", "--port", "0", "--log-format", "json"])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let port = lines.find_map(|line| {
        line.split_once("://127.0.0.1:")?
            .1
            .split(' ')
            .next()?
            .parse()
            .ok()
    });
    let request = r#"{"prompt": "a-secret-thought", "max_tokens": 2, "ignore_eos": true}"#;
    body(&ask(port.unwrap(), "POST", "/v1/completions", request));
    let status = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status();
    assert!(status.unwrap().success());
    let log: Vec<String> = lines.collect();
    child.wait().unwrap();
    assert!(
        log.iter().all(|line| !line.contains("a-secret-thought")),
        "{log:?}"
    );
    let events: Vec<Value> = log
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let answered = events
        .iter()
        .find(|event| event["message"] == "answered")
        .unwrap();
    assert_eq!(answered["generated_tokens"], 2);
    assert_eq!(answered["span"]["id"].as_str().unwrap().len(), 36);
}

#[test]
fn mistakes_of_serving_are_explained() {
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port().to_string();
    for (args, said) in [
        (
            &["--synthetic", "tiny", "--port", port.as_str()][..],
            port.as_str(),
        ),
        (
            &["--synthetic", "tiny", "--api-key-file", "nowhere"],
            "nowhere",
        ),
        (&["--synthetic", "tiny", "--api-key", ""], "key is empty"),
        (
            &["--synthetic", "tiny", "--client-timeout", "0"],
            "--client-timeout 0",
        ),
        (
            &["--synthetic", "tiny", "--client-timeout", "NaN"],
            "--client-timeout NaN",
        ),
        (
            &["--synthetic", "tiny", "--context", "100000"],
            "--context 100000",
        ),
        (
            &["--synthetic", "tiny", "--tls-cert", "cert.pem"],
            "--tls-key",
        ),
        (
            &["--synthetic", "tiny", "--max-sequences", "0"],
            "max_sequences",
        ),
    ] {
        let message = fail(&[&["serve"], args].concat());
        assert!(message.contains(said), "{args:?}: {message}");
    }
}
