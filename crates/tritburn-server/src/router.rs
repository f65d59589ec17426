//! From addresses to endpoints, and what every request passes.

use std::any::Any;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderValue, Method};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, Any as AnyOrigin, CorsLayer};
use tower_http::request_id::{
    MakeRequestUuid, PropagateRequestIdLayer, RequestId, SetRequestIdLayer,
};
use tower_http::trace::TraceLayer;
use tracing::Span;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use crate::auth::require_key;
use crate::error::ApiError;
use crate::options::ServerOptions;
use crate::routes::{chat, completions, embeddings, models, page, state as status, tokenize};
use crate::state::AppState;

#[derive(OpenApi)]
#[openapi(info(
    title = "tritburn",
    description = "1.58-bit language models behind OpenAI's API"
))]
struct Api;

/// Everything that the server answers. It can be nested into a router of one's own, or served by
/// [`serve`](crate::serve).
pub fn router(state: AppState) -> Router {
    let key = from_fn_with_state(state.clone(), require_key);
    let asking = OpenApiRouter::new()
        .routes(routes!(chat::chat))
        .routes(routes!(completions::completions))
        .routes(routes!(embeddings::embeddings))
        .routes(routes!(tokenize::tokenize))
        .routes(routes!(tokenize::detokenize))
        .route_layer(from_fn_with_state(state.clone(), refuse_when_draining))
        .routes(routes!(models::models))
        .routes(routes!(models::model))
        .routes(routes!(status::props))
        .route_layer(key.clone())
        .route_layer(
            TraceLayer::new_for_http()
                .make_span_with(span)
                .on_request(())
                .on_response(log_response)
                .on_failure(()),
        );
    // What is asked every few seconds is not logged.
    let numbers = OpenApiRouter::new()
        .routes(routes!(status::metrics))
        .route_layer(key);
    let (guarded, guarded_api) = asking.merge(numbers).split_for_parts();
    let (open, open_api) = OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(status::health))
        .routes(routes!(status::ready))
        .split_for_parts();
    let api = open_api.merge_from(guarded_api);
    let router = open
        .merge(guarded)
        .merge(SwaggerUi::new("/docs").url("/openapi.json", api))
        .route("/", get(page::page))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(from_fn_with_state(state.clone(), count_refusals));
    let router = match cors(&state.options) {
        Some(cors) => router.layer(cors),
        None => router,
    };
    router
        .layer(CatchPanicLayer::custom(panicked))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .with_state(state)
}

async fn refuse_when_draining(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    match state.is_draining() {
        true => Err(ApiError::going_down()),
        false => Ok(next.run(request).await),
    }
}

async fn count_refusals(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        state.metrics.refuse(status.as_u16());
    }
    response
}

async fn no_route(request: Request) -> ApiError {
    ApiError::no_route(request.method().as_str(), request.uri().path())
}

async fn no_method(request: Request) -> ApiError {
    ApiError::method(request.method().as_str(), request.uri().path())
}

fn cors(options: &ServerOptions) -> Option<CorsLayer> {
    let origins = &options.cors_origins;
    if origins.is_empty() {
        return None;
    }
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE]);
    if origins.iter().any(|origin| origin == "*") {
        return Some(layer.allow_origin(AnyOrigin));
    }
    let origins = origins.iter().filter_map(|origin| {
        let value = HeaderValue::from_str(origin);
        value
            .inspect_err(|_| tracing::warn!(origin, "is no origin"))
            .ok()
    });
    Some(layer.allow_origin(AllowOrigin::list(origins)))
}

fn span(request: &Request) -> Span {
    let id = request.extensions().get::<RequestId>();
    let id = id
        .and_then(|id| id.header_value().to_str().ok())
        .unwrap_or_default();
    tracing::info_span!(
        "request",
        id,
        method = %request.method(),
        // Without its query, which may say anything.
        path = request.uri().path(),
    )
}

fn log_response(response: &Response, latency: Duration, _span: &Span) {
    let status = response.status().as_u16();
    let seconds = latency.as_secs_f64();
    tracing::info!(status, seconds, "response");
}

fn panicked(cause: Box<dyn Any + Send + 'static>) -> Response {
    let text = cause.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| cause.downcast_ref::<String>().cloned());
    tracing::error!(cause = text.unwrap_or_default(), "a request panicked");
    ApiError::internal("the server failed at this request").into_response()
}
