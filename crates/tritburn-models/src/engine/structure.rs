//! Structured answers: which tokens may come next, by llguidance.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory};
use serde_json::json;
use toktrie::{ApproximateTokEnv, SimpleVob, TokEnv, TokRxInfo, TokTrie};
use tritburn::device::panic_message;

use super::{Failure, Structure, SubmitError};
use crate::DecoderConfig;
use crate::text::Tokenizer;

/// Compiles structures for one tokenizer, whose tokens are put in order when the first one comes.
#[derive(Default)]
pub(super) struct Grammars(OnceLock<Result<ParserFactory, String>>);

/// A compiled structure at its beginning.
pub(super) struct Grammar(Matcher);

/// A structure on the way through an answer.
pub(super) struct Constraint {
    matcher: Matcher,
    /// Tokens that may come next, once they are known.
    mask: Option<SimpleVob>,
}

impl Grammars {
    /// The grammar of `structure` for the model of `config`.
    pub fn compile(
        &self,
        structure: &Structure,
        tokenizer: &Tokenizer,
        config: &DecoderConfig,
    ) -> Result<Grammar, SubmitError> {
        let refused = |reason: String| SubmitError::Structure { reason };
        let factory = self.0.get_or_init(|| factory(tokenizer, config));
        let factory = factory.as_ref().map_err(|reason| refused(reason.clone()))?;
        let grammar = match structure {
            Structure::JsonSchema(schema) => TopLevelGrammar::from_json_schema(schema.clone()),
            Structure::JsonObject => TopLevelGrammar::from_json_schema(json!({"type": "object"})),
            Structure::Regex(expression) => TopLevelGrammar::from_regex(expression),
            Structure::Lark(grammar) => TopLevelGrammar::from_lark(grammar.clone()),
        };
        let matcher = guarded(|| Ok(Matcher::new(factory.create_parser(grammar))));
        let matcher = matcher.map_err(refused)?;
        match matcher.get_error() {
            None => Ok(Grammar(matcher)),
            Some(reason) => Err(refused(reason)),
        }
    }
}

impl Grammar {
    /// The structure of one more choice.
    pub fn start(&self) -> Constraint {
        Constraint {
            matcher: self.0.deep_clone(),
            mask: None,
        }
    }
}

impl Constraint {
    /// Finds out which tokens may come next: the slow part, for the time in which a device is busy.
    pub fn prepare(&mut self) -> Result<(), Failure> {
        if self.mask.is_none() {
            let matcher = &mut self.matcher;
            let mask = guarded(|| matcher.compute_mask_or_eos().map_err(|e| e.to_string()));
            self.mask = Some(mask.map_err(|reason| Failure::Structure { reason })?);
        }
        Ok(())
    }

    /// Forbids what may not come next.
    pub fn apply(&mut self, logits: &mut [f32]) -> Result<(), Failure> {
        self.prepare()?;
        if let Some(mask) = &self.mask {
            for (token, logit) in logits.iter_mut().enumerate() {
                if token >= mask.len() || !mask.get(token) {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        Ok(())
    }

    /// Goes on behind token `id`; whether the answer is complete.
    pub fn accept(&mut self, id: u32) -> Result<bool, Failure> {
        self.mask = None;
        let matcher = &mut self.matcher;
        let accepted = guarded(|| matcher.consume_token(id).map_err(|e| e.to_string()));
        accepted.map_err(|reason| Failure::Structure { reason })?;
        Ok(self.matcher.is_stopped())
    }
}

fn factory(tokenizer: &Tokenizer, config: &DecoderConfig) -> Result<ParserFactory, String> {
    let vocabulary = config.vocab_size;
    let named = tokenizer.eos_token();
    let named = named.and_then(|eos| tokenizer.token_to_id(eos));
    let mut ends = config.eos_token_ids.clone();
    ends.extend(named.filter(|id| !ends.contains(id)));
    ends.retain(|&id| (id as usize) < vocabulary);
    let &[first, ..] = &ends[..] else {
        return Err("neither model nor tokenizer name a token that ends an answer".into());
    };
    let json = tokenizer.to_json().map_err(|error| error.to_string())?;
    guarded(|| {
        let bytes = llguidance::token_bytes_from_tokenizer_json(&json);
        let mut bytes = bytes.map_err(|error| error.to_string())?;
        bytes.resize(vocabulary, Vec::new());
        let trie = TokTrie::from(&TokRxInfo::new(vocabulary as u32, first), &bytes);
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie.with_eos_tokens(&ends)));
        let mut factory = ParserFactory::new_simple(&env).map_err(|error| error.to_string())?;
        factory.quiet();
        Ok(factory)
    })
}

/// The library of grammars asserts some of what it does not allow.
fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let done = catch_unwind(AssertUnwindSafe(work));
    done.unwrap_or_else(|cause| Err(panic_message(cause.as_ref())))
}
