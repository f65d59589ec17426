//! How the server is: `/health`, `/ready`, `/metrics`, `/props`.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tritburn_models::engine::Engine;
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::metrics;
use crate::state::{AppState, Backend};

/// How the server is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Status {
    /// `ok`, `shutting down` or `engine failed`.
    pub status: &'static str,
    /// Whether each engine works.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub engines: Vec<bool>,
}

/// What is served, and with what limits.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Props {
    /// The model's name.
    pub model: String,
    /// Positions of a prompt with its answer.
    pub n_ctx: usize,
    /// Tokens that the model knows.
    pub n_vocab: usize,
    /// Engines, one a device.
    pub engines: usize,
    /// Whether it takes conversations.
    pub chat: bool,
    /// Whether it makes embeddings, and continues no prompts.
    pub embeddings: bool,
    /// Bytes of a request's body at most.
    pub max_body_bytes: usize,
    /// Whether an API key is needed.
    pub api_key: bool,
    /// Version of the server.
    pub version: &'static str,
}

/// Whether the process lives.
#[utoipa::path(get, path = "/health", tag = "Server", responses((status = 200, body = Status)))]
pub async fn health() -> Json<Status> {
    Json(Status {
        status: "ok",
        engines: Vec::new(),
    })
}

/// Whether requests are answered: not while shutting down, and not by an engine that has failed.
#[utoipa::path(
    get,
    path = "/ready",
    tag = "Server",
    responses((status = 200, body = Status), (status = 503, body = Status)),
)]
pub async fn ready(State(state): State<AppState>) -> (StatusCode, Json<Status>) {
    let engines = match &state.backend {
        Backend::Text(engines) => {
            let alive = engines.engines().iter().map(Engine::is_alive);
            alive.collect()
        }
        Backend::Embedding(embedder) => vec![embedder.is_alive()],
    };
    let (code, status) = match (state.is_ready(), state.is_draining()) {
        (true, _) => (StatusCode::OK, "ok"),
        (false, true) => (StatusCode::SERVICE_UNAVAILABLE, "shutting down"),
        (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "engine failed"),
    };
    (code, Json(Status { status, engines }))
}

/// Numbers for Prometheus, under vLLM's names.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "Server",
    responses((status = 200, description = "OpenMetrics text", content_type = "application/openmetrics-text", body = String)),
)]
pub async fn metrics(State(state): State<AppState>) -> Result<Response, ApiError> {
    let text = state.metrics.text();
    let text = text.map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

/// What is served, and with what limits.
#[utoipa::path(get, path = "/props", tag = "Server", responses((status = 200, body = Props)))]
pub async fn props(State(state): State<AppState>) -> Json<Props> {
    let (engines, embeddings) = match &state.backend {
        Backend::Text(engines) => (engines.engines().len(), false),
        Backend::Embedding(_) => (1, true),
    };
    Json(Props {
        model: state.name.clone(),
        n_ctx: state.context(),
        n_vocab: state.vocabulary(),
        engines,
        chat: state.text.template.is_some() && !embeddings,
        embeddings,
        max_body_bytes: state.options.max_body,
        api_key: !state.options.api_keys.is_empty(),
        version: env!("CARGO_PKG_VERSION"),
    })
}
