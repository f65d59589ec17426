//! Configurations that cannot be read or run.

use thiserror::Error;

/// Why a configuration is no model that this crate runs.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not JSON, or a field of the wrong type.
    #[error("config.json cannot be read")]
    Json(#[from] serde_json::Error),
    /// A field of the wrong type.
    #[error("{field}: {reason}")]
    Field {
        /// Name of the field, with dots between nested ones.
        field: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// A model of another architecture.
    #[error("the model is of type {found:?}; types that run are: {expected}")]
    ModelType {
        /// Type found.
        found: String,
        /// Types that run.
        expected: String,
    },
    /// A field that has no default.
    #[error("{field} is missing")]
    Missing {
        /// Name of the field.
        field: String,
    },
    /// A field with a value that means nothing here.
    #[error("{field} is {found}, expected {expected}")]
    Value {
        /// Name of the field.
        field: String,
        /// Value found.
        found: String,
        /// What it has to be.
        expected: &'static str,
    },
    /// A feature that the model uses and this crate does not have.
    #[error("{field} is {found}: {reason}")]
    Unsupported {
        /// Name of the field.
        field: &'static str,
        /// Value found.
        found: String,
        /// What cannot be done.
        reason: &'static str,
    },
    /// Two sizes of which one must be a multiple of the other.
    #[error("{field} is {value}, not a multiple of {divisor_field}, {divisor}")]
    Divides {
        /// Name of the multiple.
        field: &'static str,
        /// Its value.
        value: usize,
        /// Name of the divisor.
        divisor_field: &'static str,
        /// Its value.
        divisor: usize,
    },
    /// A size out of range.
    #[error("{field} is {value}, possible are {min} to {max}")]
    Range {
        /// Name of the size.
        field: &'static str,
        /// Its value.
        value: usize,
        /// Smallest possible.
        min: usize,
        /// Largest possible.
        max: usize,
    },
    /// A constant that is not a positive number.
    #[error("{field} is {value}, not a positive number")]
    NotPositive {
        /// Name of the constant.
        field: &'static str,
        /// Its value.
        value: f64,
    },
}
