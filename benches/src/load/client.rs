//! One request, and when its tokens came.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use serde_json::Value;

use super::Args;

/// A server under load.
#[derive(Clone, Debug)]
pub struct Server {
    http: reqwest::Client,
    url: String,
    api_key: Option<String>,
    model: String,
}

/// What came of a request.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it was sent.
    pub sent: Instant,
    /// When each part of the answer came, from there.
    pub parts: Vec<Duration>,
    /// Tokens of the answer, as the server counts.
    pub tokens: usize,
    /// To the end.
    pub total: Duration,
    /// Why it failed.
    pub error: Option<String>,
}

impl Server {
    /// Finds the model to ask for.
    pub async fn connect(args: &Args) -> Result<Self> {
        let mut server = Self {
            http: reqwest::Client::new(),
            url: args.url.trim_end_matches('/').into(),
            api_key: args.api_key.clone(),
            model: String::new(),
        };
        server.model = match &args.model {
            Some(model) => model.clone(),
            None => server.first_model().await?,
        };
        Ok(server)
    }

    pub fn model(&self) -> &str {
        &self.model
    }

    async fn first_model(&self) -> Result<String> {
        let url = format!("{}/models", self.url);
        let what = || format!("cannot ask {url} for its models");
        let answer = self
            .with_key(self.http.get(&url))
            .send()
            .await
            .with_context(what)?;
        let models: Value = answer.error_for_status().with_context(what)?.json().await?;
        let name = models["data"][0]["id"].as_str();
        Ok(name.with_context(what)?.into())
    }

    fn with_key(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.api_key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Sends a streaming request and waits for its end.
    pub async fn ask(&self, request: &Value) -> Seen {
        let mut seen = Seen {
            sent: Instant::now(),
            parts: Vec::new(),
            tokens: 0,
            total: Duration::ZERO,
            error: None,
        };
        let read = self.read(request, &mut seen).await;
        seen.error = read.err().map(|error| format!("{error:#}"));
        seen.total = seen.sent.elapsed();
        seen
    }

    async fn read(&self, request: &Value, seen: &mut Seen) -> Result<()> {
        let url = format!("{}/completions", self.url);
        let answer = self
            .with_key(self.http.post(url))
            .json(request)
            .send()
            .await?;
        let status = answer.status();
        if !status.is_success() {
            anyhow::bail!("{status}: {}", answer.text().await.unwrap_or_default());
        }
        let mut events = answer.bytes_stream().eventsource();
        while let Some(event) = events.next().await {
            let event = event?;
            if event.data == "[DONE]" {
                return Ok(());
            }
            let chunk: Value = serde_json::from_str(&event.data)?;
            if let Some(error) = chunk["error"]["message"].as_str() {
                anyhow::bail!("{error}");
            }
            if let Some(tokens) = chunk["usage"]["completion_tokens"].as_u64() {
                seen.tokens = tokens as usize;
            }
            let text = chunk["choices"][0]["text"].as_str();
            if text.is_some_and(|text| !text.is_empty()) {
                seen.parts.push(seen.sent.elapsed());
            }
        }
        anyhow::bail!("the stream broke off")
    }
}
