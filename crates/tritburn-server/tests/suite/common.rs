//! Servers to ask, and how to ask them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use burn::tensor::Device;
use futures_util::StreamExt;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc::{Sender, channel};
use tokio::task::JoinHandle;
use tritburn_models::checkpoint::{self, Checkpoint, Synthetic};
use tritburn_models::engine::{Engine, EngineOptions, EnginePool};
use tritburn_models::model::LoadOptions;
use tritburn_models::{CausalLm, DecoderConfig};
use tritburn_server::{AppState, Backend, Embedder, Ended, ModelText, ServeError, ServerOptions};

/// A model on the CPU with its text.
pub struct Toy {
    pub text: ModelText,
    pub model: Arc<CausalLm>,
}

/// The toy BitNet whose logits and tokens came from transformers: 512 tokens, 512 positions.
pub static BITNET: LazyLock<Toy> = LazyLock::new(|| load(&*checkpoint::open(folder()).unwrap()));

/// Random weights with made-up words and a chat template that takes tools.
pub static SYNTHETIC: LazyLock<Toy> = LazyLock::new(|| {
    let config = DecoderConfig {
        max_position_embeddings: 4096,
        ..DecoderConfig::tiny()
    };
    load(&Synthetic::new(config, 1).unwrap())
});

/// The same, slow enough to be interrupted, and no token ends an answer.
pub static ENDLESS: LazyLock<Toy> = LazyLock::new(|| {
    let config = DecoderConfig {
        max_position_embeddings: 4096,
        eos_token_ids: Vec::new(),
        num_hidden_layers: 16,
        ..DecoderConfig::tiny()
    };
    load(&Synthetic::new(config, 1).unwrap())
});

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tritburn-models/tests/data/bitnet-tiny/packed")
}

fn load(checkpoint: &dyn Checkpoint) -> Toy {
    let model = CausalLm::load(checkpoint, &LoadOptions::default(), &Device::flex()).unwrap();
    Toy {
        text: ModelText::of(checkpoint).unwrap(),
        model: Arc::new(model),
    }
}

/// A free port of this machine.
pub fn local() -> ServerOptions {
    ServerOptions {
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        ..ServerOptions::default()
    }
}

pub fn small_engine() -> EngineOptions {
    EngineOptions {
        max_sequences: 8,
        block_size: 16,
        cache_tokens: Some(8192),
        ..EngineOptions::default()
    }
}

/// A server that runs until the test ends.
pub struct Server {
    pub address: SocketAddr,
    pub state: AppState,
    pub engines: Vec<Engine>,
    pub stop: Sender<()>,
    pub ended: JoinHandle<Result<Ended, ServeError>>,
    client: reqwest::Client,
}

impl Server {
    /// The toy BitNet.
    pub async fn bitnet() -> Self {
        Self::start(&BITNET, small_engine(), local()).await
    }

    /// Random weights.
    pub async fn synthetic() -> Self {
        Self::start(&SYNTHETIC, small_engine(), local()).await
    }

    pub async fn start(toy: &'static Toy, engine: EngineOptions, options: ServerOptions) -> Self {
        Self::with_engines(toy, vec![engine], options).await
    }

    pub async fn with_engines(
        toy: &'static Toy,
        engines: Vec<EngineOptions>,
        options: ServerOptions,
    ) -> Self {
        let tokenizer = Some(toy.text.tokenizer.clone());
        let engine =
            |options| Engine::start(toy.model.clone(), tokenizer.clone(), options).unwrap();
        let engines: Vec<_> = engines.into_iter().map(engine).collect();
        let backend = Backend::Text(Arc::new(EnginePool::new(engines.clone()).unwrap()));
        Self::serve(toy, backend, engines, options).await
    }

    pub async fn embeddings() -> Self {
        let embedder = Embedder::start(BITNET.model.clone(), 4).unwrap();
        Self::serve(&BITNET, Backend::Embedding(embedder), Vec::new(), local()).await
    }

    async fn serve(
        toy: &Toy,
        backend: Backend,
        engines: Vec<Engine>,
        options: ServerOptions,
    ) -> Self {
        let state = AppState::new("toy", toy.text.clone(), backend, options);
        let listener = tritburn_server::bind(&state).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = channel(2);
        let ended = tokio::spawn(tritburn_server::serve(state.clone(), listener, stopped));
        Self {
            address,
            state,
            engines,
            stop,
            ended,
            client: reqwest::Client::new(),
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path))
    }

    pub fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.client.post(self.url(path)).json(body)
    }

    /// The answer to a request that has to succeed.
    pub async fn ask(&self, path: &str, body: Value) -> Value {
        let answer = self.post(path, &body).send().await.unwrap();
        let status = answer.status();
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(status, StatusCode::OK, "{body}: {answer}");
        answer
    }

    /// The chunks of a stream that has to come to its end.
    pub async fn stream(&self, path: &str, mut body: Value) -> Vec<Value> {
        body["stream"] = json!(true);
        let answer = self.post(path, &body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{body}");
        let mut events = events(answer).await;
        assert_eq!(events.pop().unwrap(), "[DONE]", "{body}");
        events
            .iter()
            .map(|event| serde_json::from_str(event).unwrap())
            .collect()
    }

    /// Status, `param` and message of a request that has to be refused.
    pub async fn refusal(&self, path: &str, body: &Value) -> (StatusCode, Option<String>, String) {
        refusal(self.post(path, body).send().await.unwrap()).await
    }

    /// A metric's value, summed over its labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self
            .get("/metrics")
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let lines = text.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
        });
        lines
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }

    /// Waits until nothing runs or waits.
    pub async fn idle(&self) {
        for _ in 0..200 {
            let idle = self.engines.iter().all(|engine| {
                let stats = engine.stats();
                stats.running + stats.waiting == 0
            });
            if idle {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the engines are still busy after 4 s");
    }
}

pub async fn refusal(answer: Response) -> (StatusCode, Option<String>, String) {
    let status = answer.status();
    let body: Value = answer.json().await.unwrap();
    let error = &body["error"];
    assert!(error["type"].is_string(), "{status} {body}");
    let message = error["message"].as_str().unwrap().to_string();
    (status, error["param"].as_str().map(str::to_string), message)
}

/// The data of server-sent events, until the connection ends.
pub async fn events(answer: Response) -> Vec<String> {
    let mut text = String::new();
    let mut body = answer.bytes_stream();
    while let Some(Ok(bytes)) = body.next().await {
        text += std::str::from_utf8(&bytes).unwrap();
    }
    data(&text)
}

pub fn data(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
    lines.map(str::to_string).collect()
}

pub fn user(text: &str) -> Value {
    json!([{ "role": "user", "content": text }])
}
