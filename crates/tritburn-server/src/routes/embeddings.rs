//! `/v1/embeddings`

use axum::Json;
use axum::extract::State;

use crate::error::{ApiError, ErrorBody};
use crate::extract::JsonBytes;
use crate::openai::{Embedding, EmbeddingAnswer, EmbeddingRequest, EmbeddingUsage, Prompt, Vector};
use crate::prepare::text_error;
use crate::state::{AppState, Backend};

/// Texts of a request at most, as OpenAI has it.
const MAX_TEXTS: usize = 2048;

/// Turn texts into vectors of length 1.
#[utoipa::path(
    post,
    path = "/v1/embeddings",
    tag = "OpenAI",
    request_body = EmbeddingRequest,
    responses(
        (status = 200, description = "The vectors", body = EmbeddingAnswer),
        (status = "4XX", description = "What is wrong with the request", body = ErrorBody),
        (status = "5XX", description = "What is wrong with the server", body = ErrorBody),
    ),
)]
pub async fn embeddings(
    State(state): State<AppState>,
    JsonBytes(body): JsonBytes,
) -> Result<Json<EmbeddingAnswer>, ApiError> {
    let Backend::Embedding(embedder) = &state.backend else {
        let message = "this server continues prompts and makes no embeddings";
        return Err(ApiError::malformed(message));
    };
    let request = EmbeddingRequest::parse(&body)?;
    state.check_model(request.model.as_deref())?;
    if request
        .dimensions
        .is_some_and(|size| size != embedder.size())
    {
        let message = format!(
            "`dimensions` can only be {}, as the model has",
            embedder.size()
        );
        return Err(ApiError::unsupported("dimensions", message));
    }
    let prompts = request.input.into_prompts();
    if prompts.is_empty() || prompts.len() > MAX_TEXTS {
        let message = format!(
            "`input` has {} texts, it takes 1 to {MAX_TEXTS}",
            prompts.len()
        );
        return Err(ApiError::value("input", message));
    }
    let ids = state.blocking(move |state| ids(state, prompts)).await?;
    let tokens = ids.iter().map(Vec::len).sum();
    let vectors = embedder.embed(ids).await?;
    let encoding = request.encoding_format;
    let data = vectors
        .into_iter()
        .enumerate()
        .map(|(index, values)| Embedding {
            object: "embedding",
            index,
            embedding: Vector { values, encoding },
        });
    Ok(Json(EmbeddingAnswer {
        object: "list",
        data: data.collect(),
        model: state.name.clone(),
        usage: EmbeddingUsage {
            prompt_tokens: tokens,
            total_tokens: tokens,
        },
    }))
}

/// The ids of texts, each with the token behind it that ends a sequence.
fn ids(state: &AppState, prompts: Vec<Prompt>) -> Result<Vec<Vec<u32>>, ApiError> {
    let end = state.text.stop_ids.first().copied();
    let ids = prompts.into_iter().map(|prompt| match prompt {
        Prompt::Ids(ids) => Ok(ids),
        Prompt::Text(text) => {
            let mut ids = state
                .text
                .tokenizer
                .encode_text(&text)
                .map_err(text_error)?;
            ids.extend(end.filter(|end| ids.last() != Some(end)));
            Ok(ids)
        }
    });
    ids.collect()
}
