//! Templates that are none of the model's.

use std::borrow::Cow;

use super::super::{TextError, TokenizerFiles};

/// What BitNet's own GGUF converter calls the assistant: its template knows neither a system nor how the
/// model was trained to take turns.
const PLACEHOLDER: &str = "BITNETAssistant";
/// The token that ends a turn of these models.
const END: &str = "<|eot_id|>";
/// Turns as BitNet b1.58 2B-4T was trained on: a role, a colon, the text and the token that ends it.
const TURNS: &str = "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}\
    {{ message['role'] | capitalize + ': ' + message['content'] | trim + '<|eot_id|>' }}\
    {% endfor %}{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}";

/// The template, or that of the published models where a converter has put a placeholder.
pub(super) fn replaced(
    source: String,
    files: &TokenizerFiles,
) -> Result<Cow<'static, str>, TextError> {
    if !source.contains(PLACEHOLDER) {
        return Ok(Cow::Owned(source));
    }
    if files.id_of(END)?.is_none() {
        tracing::warn!("the chat template is a converter's placeholder ({PLACEHOLDER})");
        return Ok(Cow::Owned(source));
    }
    tracing::warn!(
        "the chat template is a converter's placeholder ({PLACEHOLDER}): taking that of BitNet b1.58 2B-4T"
    );
    Ok(Cow::Borrowed(TURNS))
}
