//! Parameters and logits that no token can be chosen by.

use thiserror::Error;

/// Why there is no next token.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum SampleError {
    /// A parameter out of its range.
    #[error("{name} is {value}, it has to be {expected}")]
    Parameter {
        /// Name of the parameter.
        name: &'static str,
        /// Its value.
        value: f32,
        /// What it has to be.
        expected: &'static str,
    },
    /// A NaN or +∞ among the logits: the model has computed nonsense.
    #[error("the logit of token {token} is {value}")]
    NotFinite {
        /// The first such token.
        token: usize,
        /// Its logit.
        value: f32,
    },
    /// No logits, or -∞ for every token.
    #[error("no token is possible: {vocabulary} logits, none over -inf")]
    Nothing {
        /// Number of logits.
        vocabulary: usize,
    },
}
