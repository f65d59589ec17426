//! Which fields a request may have. The tables here are what [`Body::parse`](super::body::Body::parse)
//! goes by, and what the crate's documentation shows.

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// It does what OpenAI says.
    Supported,
    /// As vLLM and llama.cpp have it; OpenAI does not.
    Extension,
    /// It is accepted and unused: an answer does not depend on it.
    NoEffect,
    /// It may say only what happens anyway, as JSON.
    Only(&'static str),
    /// It is refused, by name.
    Refused,
}

/// A field of a request.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What becomes of it.
    pub support: Support,
    /// What else there is to know.
    pub note: &'static str,
}

const fn field(name: &'static str, support: Support, note: &'static str) -> Field {
    Field {
        name,
        support,
        note,
    }
}

use Support::{Extension, NoEffect, Only, Refused, Supported};

/// Fields of `/v1/chat/completions`.
pub const CHAT: &[Field] = &[
    field(
        "messages",
        Supported,
        "texts and text parts; no images, no sound",
    ),
    field("model", Supported, "may be left out"),
    field("audio", Refused, ""),
    field("frequency_penalty", Supported, "-2 to 2"),
    field("function_call", Refused, "use `tool_choice`"),
    field("functions", Refused, "use `tools`"),
    field("logit_bias", Supported, "at most 1024 tokens"),
    field("logprobs", Supported, ""),
    field(
        "max_completion_tokens",
        Supported,
        "default: what the context leaves",
    ),
    field(
        "max_tokens",
        Supported,
        "the older name of `max_completion_tokens`",
    ),
    field("metadata", NoEffect, ""),
    field("modalities", Only(r#"["text"]"#), ""),
    field("moderation", Refused, ""),
    field("n", Supported, "1 to 128"),
    field(
        "parallel_tool_calls",
        Supported,
        "`false` keeps the first call",
    ),
    field("prediction", NoEffect, "a hint for speed"),
    field("presence_penalty", Supported, "-2 to 2"),
    field("prompt_cache_key", NoEffect, "prefixes are found without"),
    field("prompt_cache_options", NoEffect, ""),
    field("prompt_cache_retention", NoEffect, ""),
    field("reasoning_effort", Refused, ""),
    field(
        "response_format",
        Supported,
        "`text`, `json_object`, `json_schema`",
    ),
    field("safety_identifier", NoEffect, ""),
    field(
        "seed",
        Supported,
        "the same seed gives the same answer, on devices of one kind",
    ),
    field("service_tier", NoEffect, "there is one"),
    field("stop", Supported, "up to 16 texts"),
    field("store", Only("false"), "nothing is stored"),
    field("stream", Supported, ""),
    field("stream_options", Supported, "`include_usage`"),
    field("temperature", Supported, "0 to 2; default 1"),
    field(
        "tool_choice",
        Supported,
        "`none`, `auto`, `required`, a function",
    ),
    field(
        "tools",
        Supported,
        "functions, if the chat template takes tools",
    ),
    field("top_logprobs", Supported, "0 to 20"),
    field("top_p", Supported, ""),
    field("user", NoEffect, ""),
    field("verbosity", Refused, ""),
    field("web_search_options", Refused, ""),
    field("top_k", Extension, ""),
    field("min_p", Extension, ""),
    field("repetition_penalty", Extension, ""),
    field("ignore_eos", Extension, ""),
    field(
        "guided_regex",
        Extension,
        "the answer matches this regular expression",
    ),
];

/// Fields of `/v1/completions`.
pub const COMPLETION: &[Field] = &[
    field("model", Supported, "may be left out"),
    field(
        "prompt",
        Supported,
        "a text, token ids, or several of either",
    ),
    field("best_of", Only("1"), "use `n`"),
    field("echo", Supported, "without `logprobs`"),
    field("frequency_penalty", Supported, "-2 to 2"),
    field("logit_bias", Supported, "at most 1024 tokens"),
    field("logprobs", Supported, "0 to 20"),
    field("max_tokens", Supported, "default 16"),
    field("n", Supported, "1 to 128"),
    field("presence_penalty", Supported, "-2 to 2"),
    field(
        "seed",
        Supported,
        "the same seed gives the same answer, on devices of one kind",
    ),
    field("stop", Supported, "up to 16 texts"),
    field("stream", Supported, ""),
    field("stream_options", Supported, "`include_usage`"),
    field("suffix", Refused, ""),
    field("temperature", Supported, "0 to 2; default 1"),
    field("top_p", Supported, ""),
    field("user", NoEffect, ""),
    field("top_k", Extension, ""),
    field("min_p", Extension, ""),
    field("repetition_penalty", Extension, ""),
    field("ignore_eos", Extension, ""),
    field("response_format", Extension, "as in a chat"),
    field(
        "guided_regex",
        Extension,
        "the text matches this regular expression",
    ),
];

/// Fields of `/v1/embeddings`.
pub const EMBEDDING: &[Field] = &[
    field(
        "input",
        Supported,
        "a text, token ids, or several of either",
    ),
    field("model", Supported, "may be left out"),
    field("dimensions", Supported, "only the model's own number"),
    field("encoding_format", Supported, "`float`, `base64`"),
    field("user", NoEffect, ""),
];

/// Fields of `/tokenize`.
pub const TOKENIZE: &[Field] = &[
    field("content", Extension, "the text, as llama.cpp calls it"),
    field("prompt", Extension, "the text, as vLLM calls it"),
    field("model", Extension, "may be left out"),
    field("add_special_tokens", Extension, "default true"),
    field("with_pieces", Extension, "each token's text besides"),
];

/// Fields of `/detokenize`.
pub const DETOKENIZE: &[Field] = &[
    field("tokens", Extension, ""),
    field("model", Extension, "may be left out"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The tables as the documentation shows them.
    fn markdown() -> String {
        let requests = [
            ("/v1/chat/completions", CHAT),
            ("/v1/completions", COMPLETION),
            ("/v1/embeddings", EMBEDDING),
            ("/tokenize", TOKENIZE),
            ("/detokenize", DETOKENIZE),
        ];
        let mut text = String::new();
        for (address, fields) in requests {
            text += &format!("| `{address}` | | |\n|---|---|---|\n");
            for field in fields {
                let support = match field.support {
                    Support::Supported => "supported".to_string(),
                    Support::Extension => "supported, not OpenAI's".to_string(),
                    Support::NoEffect => "accepted, changes nothing".to_string(),
                    Support::Only(only) => format!("only `{only}`"),
                    Support::Refused => "refused".to_string(),
                };
                text += &format!("| `{}` | {support} | {} |\n", field.name, field.note);
            }
            text += "\n";
        }
        text
    }

    #[test]
    fn the_documentation_shows_these_tables() {
        let written = include_str!("../../FIELDS.md");
        assert!(written == markdown(), "FIELDS.md should be\n{}", markdown());
    }

    #[test]
    fn a_field_is_in_a_table_once() {
        for table in [CHAT, COMPLETION, EMBEDDING, TOKENIZE, DETOKENIZE] {
            for (index, field) in table.iter().enumerate() {
                assert!(
                    table[index + 1..]
                        .iter()
                        .all(|other| other.name != field.name)
                );
            }
        }
    }
}
