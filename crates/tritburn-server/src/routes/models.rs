//! `/v1/models`

use axum::Json;
use axum::extract::{Path, State};

use crate::error::{ApiError, ErrorBody};
use crate::openai::{Model, Models};
use crate::state::{AppState, Shared};

/// The models that are served.
#[utoipa::path(get, path = "/v1/models", tag = "OpenAI", responses((status = 200, body = Models)))]
pub async fn models(State(state): State<AppState>) -> Json<Models> {
    Json(Models {
        object: "list",
        data: vec![describe(&state)],
    })
}

/// One of them.
#[utoipa::path(
    get,
    path = "/v1/models/{model}",
    tag = "OpenAI",
    params(("model" = String, Path, description = "Its name")),
    responses((status = 200, body = Model), (status = 404, body = ErrorBody)),
)]
pub async fn model(
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Result<Json<Model>, ApiError> {
    state.check_model(Some(&name))?;
    Ok(Json(describe(&state)))
}

fn describe(state: &Shared) -> Model {
    Model {
        id: state.name.clone(),
        object: "model",
        created: state.created,
        owned_by: "tritburn",
        max_model_len: state.context(),
    }
}
