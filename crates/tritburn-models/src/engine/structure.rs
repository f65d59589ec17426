//! Structured answers: which tokens may come next.

use super::{Failure, Structure, SubmitError};
use crate::DecoderConfig;
use crate::text::Tokenizer;

/// Compiles structures for one tokenizer.
#[derive(Default)]
pub(super) struct Grammars;

/// A compiled structure at its beginning.
pub(super) struct Grammar;

/// A structure on the way through an answer.
pub(super) struct Constraint;

impl Grammars {
    /// The grammar of `structure` for the model of `config`.
    pub fn compile(
        &self,
        _structure: &Structure,
        _tokenizer: &Tokenizer,
        _config: &DecoderConfig,
    ) -> Result<Grammar, SubmitError> {
        Err(SubmitError::Structure {
            reason: "structures are not followed yet".into(),
        })
    }
}

impl Grammar {
    /// The structure of one more choice.
    pub fn start(&self) -> Constraint {
        Constraint
    }
}

impl Constraint {
    /// Finds out which tokens may come next: the slow part, for the time in which a device is busy.
    pub fn prepare(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    /// Forbids what may not come next.
    pub fn apply(&mut self, _logits: &mut [f32]) -> Result<(), Failure> {
        self.prepare()
    }

    /// Goes on behind token `id`; whether the answer is complete.
    pub fn accept(&mut self, _id: u32) -> Result<bool, Failure> {
        Ok(false)
    }
}
