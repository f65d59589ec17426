//! Log probabilities in OpenAI's two forms.

use std::collections::BTreeMap;

use tritburn_models::engine::Token;
use tritburn_models::text::Tokenizer;

use crate::openai::{ChatLogprob, ChatLogprobs, CompletionLogprobs, TokenLogprob};

/// The text of a token by itself: its own name where it has none, as special tokens.
fn text(tokenizer: &Tokenizer, id: u32) -> String {
    let text = tokenizer.decode(&[id]).unwrap_or_default();
    match text.is_empty() {
        true => tokenizer.id_to_token(id).unwrap_or_default(),
        false => text,
    }
}

/// A chat's form.
pub fn chat(tokenizer: &Tokenizer, tokens: &[Token]) -> Option<ChatLogprobs> {
    let one = |id, logprob: f32| {
        let token = text(tokenizer, id);
        TokenLogprob {
            bytes: token.as_bytes().to_vec(),
            token,
            // JSON has no infinity; OpenAI says so for what is next to impossible.
            logprob: logprob.max(-9999.0),
        }
    };
    let content = tokens.iter().filter_map(|token| {
        let logprobs = token.logprobs.as_ref()?;
        let top = logprobs.top.iter().map(|&(id, logprob)| one(id, logprob));
        Some(ChatLogprob {
            token: one(token.id, logprobs.chosen),
            top_logprobs: top.collect(),
        })
    });
    let content: Vec<_> = content.collect();
    (!content.is_empty()).then_some(ChatLogprobs { content })
}

/// A completion's form, for tokens behind `offset` characters of the text; that of the next token is left
/// in `offset`.
pub fn completion(
    tokenizer: &Tokenizer,
    tokens: &[Token],
    offset: &mut usize,
) -> Option<CompletionLogprobs> {
    let mut found = CompletionLogprobs::default();
    for token in tokens {
        let logprobs = token.logprobs.as_ref()?;
        let name = text(tokenizer, token.id);
        found.text_offset.push(*offset);
        *offset += name.chars().count();
        found.tokens.push(name);
        found.token_logprobs.push(logprobs.chosen.max(-9999.0));
        let top = logprobs.top.iter();
        let top = top.map(|&(id, logprob)| (text(tokenizer, id), logprob.max(-9999.0)));
        found.top_logprobs.push(top.collect::<BTreeMap<_, _>>());
    }
    (!found.tokens.is_empty()).then_some(found)
}
