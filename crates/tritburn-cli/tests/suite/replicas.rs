//! Two servers behind nginx, with the configuration of `deploy/`.

use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::serve::{Served, ask, body, rest, send};

struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// nginx on `port`, in front of the servers; `None` where it is not installed.
fn nginx(folder: &Path, port: u16, servers: [u16; 2]) -> Option<Nginx> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/nginx.conf");
    let ours = fs::read_to_string(ours)
        .unwrap()
        .replace("127.0.0.1:8081", &format!("127.0.0.1:{}", servers[0]))
        .replace("127.0.0.1:8082", &format!("127.0.0.1:{}", servers[1]))
        .replace("listen 8080", &format!("listen 127.0.0.1:{port}"));
    let root = folder.display();
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths = paths
        .map(|name| format!("{name}_temp_path {root}/{name};"))
        .join("\n");
    let whole = format!(
        "daemon off;\nmaster_process off;\npid {root}/pid;\nerror_log {root}/error.log;\n\
         events {{}}\nhttp {{\naccess_log off;\n{paths}\n{ours}\n}}\n"
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, whole).unwrap();
    let mut command = Command::new("nginx");
    command
        .arg("-p")
        .arg(folder)
        .arg("-c")
        .arg(&file)
        .stderr(Stdio::null());
    match command.spawn() {
        Ok(child) => Some(Nginx(child)),
        Err(_) => {
            eprintln!("skipped: nginx is not installed (Debian: nginx-light)");
            None
        }
    }
}

/// A stream through the balancer that has begun.
struct Begun {
    connection: TcpStream,
    text: String,
}

impl Begun {
    /// Waits for the first part of the answer.
    fn wait(mut connection: TcpStream) -> Self {
        let mut text = String::new();
        while !text.contains("data: ") {
            let mut part = [0; 1024];
            let length = connection.read(&mut part).unwrap();
            assert_ne!(length, 0, "the answer ended before it began: {text}");
            text.push_str(&String::from_utf8_lossy(&part[..length]));
        }
        Self { connection, text }
    }

    fn whole(self) -> String {
        self.text + &rest(self.connection)
    }
}

/// Requests that a server is answering.
fn running(port: u16) -> f64 {
    let text = ask(port, "GET", "/metrics", "");
    let line = text
        .lines()
        .find(|line| line.starts_with("vllm:num_requests_running"));
    line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn killing_one_of_two_replicas_loses_only_its_running_streams() {
    let folder = tempfile::tempdir().unwrap();
    let start = || Served::start(&["--synthetic", "tiny", "--port", "0"]);
    let (first, second) = (start(), start());
    let port = {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let Some(_nginx) = nginx(folder.path(), port, [first.port, second.port]) else {
        return;
    };
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }
    body(&ask(port, "GET", "/ready", ""));

    let long = json!({ "prompt": "a", "max_tokens": 450, "ignore_eos": true, "stream": true });
    let long = long.to_string();
    let streams = [(); 6].map(|()| send(port, "POST", "/v1/completions", &long));
    let streams = streams.map(Begun::wait);
    assert_eq!((running(first.port), running(second.port)), (3.0, 3.0));
    first.signal("-KILL");

    // Everyone who comes now is answered.
    for _ in 0..8 {
        let short = json!({ "prompt": "a", "max_tokens": 2, "ignore_eos": true }).to_string();
        let answer = body(&ask(port, "POST", "/v1/completions", &short));
        assert_eq!(answer["usage"]["completion_tokens"], 2);
    }
    let streams = streams.map(Begun::whole);
    let (done, cut): (Vec<_>, Vec<_>) = streams.iter().partition(|text| text.contains("[DONE]"));
    assert_eq!(done.len(), 3, "those of the other replica");
    for cut in cut {
        assert!(
            !cut.ends_with("0\r\n\r\n"),
            "its client sees that it broke off"
        );
    }
}
