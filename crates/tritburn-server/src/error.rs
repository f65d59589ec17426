//! Refusals, in OpenAI's form.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// The body of every refusal: `{"error": {..}}`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ErrorBody {
    /// What was wrong.
    pub error: ErrorDetail,
}

/// What was wrong with a request.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ErrorDetail {
    /// For a person.
    pub message: String,
    /// `invalid_request_error`, `authentication_error`, `overloaded_error` or `server_error`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The field of the request that is at fault, with the path to it.
    pub param: Option<String>,
    /// For a program.
    pub code: Option<&'static str>,
}

/// A request that gets no answer, or no whole one.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", detail.message)]
pub struct ApiError {
    status: StatusCode,
    detail: ErrorDetail,
}

impl ApiError {
    fn new(
        status: StatusCode,
        kind: &'static str,
        code: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            status,
            detail: ErrorDetail {
                message: message.into(),
                kind,
                param: None,
                code: Some(code),
            },
        }
    }

    fn invalid(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self::new(status, "invalid_request_error", code, message)
    }

    /// A body that is no JSON object, or a request that says nothing to go on.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::invalid(StatusCode::BAD_REQUEST, "malformed_request", message)
    }

    /// A field with a value that it cannot have.
    pub fn value(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(StatusCode::BAD_REQUEST, "invalid_value", message).at(param)
    }

    /// A field that OpenAI knows and this server does not act on.
    pub fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(StatusCode::BAD_REQUEST, "unsupported_parameter", message).at(param)
    }

    /// A field that nobody knows.
    pub fn unknown(param: &str) -> Self {
        let message = format!("unknown field `{param}`");
        Self::invalid(StatusCode::BAD_REQUEST, "unknown_parameter", message).at(param)
    }

    /// A prompt that leaves no room in the model's positions.
    pub fn too_long(param: &'static str, message: impl Into<String>) -> Self {
        Self::invalid(StatusCode::BAD_REQUEST, "context_length_exceeded", message).at(param)
    }

    /// A model that is not served here.
    pub fn no_model(name: &str, served: &str) -> Self {
        let message = format!("no model is called {name:?} here; this server has {served:?}");
        Self::invalid(StatusCode::NOT_FOUND, "model_not_found", message).at("model")
    }

    /// An address that does not exist.
    pub fn no_route(method: &str, path: &str) -> Self {
        let message = format!("there is no {method} {path}; GET /docs lists what there is");
        Self::invalid(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// An address that exists, for another method.
    pub fn method(method: &str, path: &str) -> Self {
        let message = format!("{path} takes no {method}");
        Self::invalid(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            message,
        )
    }

    /// A body that says it is something else than JSON.
    pub fn media_type() -> Self {
        let message = "the header `content-type: application/json` is missing";
        Self::invalid(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            message,
        )
    }

    /// A body that is larger than `limit` bytes.
    pub fn too_large(limit: usize) -> Self {
        let message = format!("the body has more than {limit} bytes");
        Self::invalid(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
    }

    /// A body that took too long to arrive.
    pub fn slow_body(seconds: f64) -> Self {
        let message = format!("the body has not arrived within {seconds} s");
        Self::invalid(StatusCode::REQUEST_TIMEOUT, "request_timeout", message)
    }

    /// A request without a key, or with a wrong one.
    pub fn key(message: &'static str) -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "authentication_error",
            "invalid_api_key",
            message,
        )
    }

    /// A request that would have to wait behind too many others.
    pub fn overloaded(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "overloaded_error",
            "queue_full",
            message,
        )
    }

    /// A server that is going down.
    pub fn going_down() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "server_error",
            "shutting_down",
            "the server is shutting down and takes no more requests",
        )
    }

    /// A request whose time is over before it was answered.
    pub fn deadline(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "server_error",
            "deadline_exceeded",
            message,
        )
    }

    /// A failure that is no fault of the request.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "server_error",
            "internal_error",
            message,
        )
    }

    /// An engine that answers no more.
    pub fn no_engine(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "server_error",
            "engine_failed",
            message,
        )
    }

    /// The same error, at fault of the field `param`.
    pub fn at(mut self, param: impl Into<String>) -> Self {
        self.detail.param = Some(param.into());
        self
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Its body.
    pub fn body(&self) -> ErrorBody {
        ErrorBody {
            error: self.detail.clone(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        let headers = response.headers_mut();
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}
