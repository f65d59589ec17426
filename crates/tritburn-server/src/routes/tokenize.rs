//! `/tokenize` and `/detokenize`

use axum::Json;
use axum::extract::State;

use crate::error::{ApiError, ErrorBody};
use crate::extract::JsonBytes;
use crate::openai::{DetokenizeRequest, Detokenized, Piece, TokenizeRequest, Tokenized};
use crate::prepare::text_error;
use crate::state::AppState;

/// The tokens of a text, as a prompt of `/v1/completions` is read.
#[utoipa::path(
    post,
    path = "/tokenize",
    tag = "Text",
    request_body = TokenizeRequest,
    responses((status = 200, body = Tokenized), (status = "4XX", body = ErrorBody)),
)]
pub async fn tokenize(
    State(state): State<AppState>,
    JsonBytes(body): JsonBytes,
) -> Result<Json<Tokenized>, ApiError> {
    let request = TokenizeRequest::parse(&body)?;
    state.check_model(request.model.as_deref())?;
    request.text()?;
    let tokenized = state.blocking(move |state| {
        let tokenizer = &state.text.tokenizer;
        let text = request.text()?;
        let tokens = match request.add_special_tokens {
            Some(false) => tokenizer.encode_rendered(text),
            _ => tokenizer.encode(text),
        };
        let tokens = tokens.map_err(text_error)?;
        let piece = |&id: &u32| Piece {
            id,
            piece: tokenizer.id_to_token(id).unwrap_or_default(),
        };
        let with_pieces = request.with_pieces == Some(true);
        Ok(Tokenized {
            pieces: with_pieces.then(|| tokens.iter().map(piece).collect()),
            count: tokens.len(),
            max_model_len: state.context(),
            tokens,
        })
    });
    tokenized.await.map(Json)
}

/// The text of token ids.
#[utoipa::path(
    post,
    path = "/detokenize",
    tag = "Text",
    request_body = DetokenizeRequest,
    responses((status = 200, body = Detokenized), (status = "4XX", body = ErrorBody)),
)]
pub async fn detokenize(
    State(state): State<AppState>,
    JsonBytes(body): JsonBytes,
) -> Result<Json<Detokenized>, ApiError> {
    let request = DetokenizeRequest::parse(&body)?;
    state.check_model(request.model.as_deref())?;
    let content = state.blocking(move |state| {
        state
            .text
            .tokenizer
            .decode(&request.tokens)
            .map_err(text_error)
    });
    Ok(Json(Detokenized {
        content: content.await?,
    }))
}
