//! The body of a request.

use axum::body::{Bytes, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use tokio::time::timeout;

use crate::error::ApiError;
use crate::state::AppState;

/// The bytes of a JSON body, no more than are allowed, in no more time than is allowed.
///
/// A body has to say that it is JSON: pages of other origins, which may send anything else to a server on
/// one's own machine without being asked, may not send that.
pub struct JsonBytes(pub Bytes);

impl FromRequest<AppState> for JsonBytes {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let limit = state.options.max_body;
        check_head(request.headers(), limit)?;
        let time = state.options.client_time;
        match timeout(time, to_bytes(request.into_body(), limit)).await {
            Err(_) => Err(ApiError::slow_body(time.as_secs_f64())),
            Ok(Ok(bytes)) => Ok(Self(bytes)),
            Ok(Err(error)) => {
                let source = std::error::Error::source(&error);
                match source.is_some_and(|source| source.is::<http_body_util::LengthLimitError>()) {
                    true => Err(ApiError::too_large(limit)),
                    false => Err(ApiError::malformed(format!("the body broke off: {error}"))),
                }
            }
        }
    }
}

/// What a head says about the body before it is read.
fn check_head(headers: &HeaderMap, limit: usize) -> Result<(), ApiError> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let kind = text(header::CONTENT_TYPE).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(ApiError::media_type());
    }
    let announced = text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    match announced.is_some_and(|length: usize| length > limit) {
        true => Err(ApiError::too_large(limit)),
        false => Ok(()),
    }
}
