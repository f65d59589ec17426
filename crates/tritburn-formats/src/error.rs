//! Errors of the codec crate.

use thiserror::Error;

/// A layout that no packed matrix can have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// A dimension is zero.
    #[error("a packed matrix needs rows and columns, got [{out_features}, {in_features}]")]
    Empty {
        /// Rows.
        out_features: usize,
        /// Columns.
        in_features: usize,
    },
    /// Too many inputs for an exact i32 accumulator.
    #[error("in_features is {in_features}, over the limit of {max} that keeps i32 sums exact")]
    InFeatures {
        /// Columns asked for.
        in_features: usize,
        /// Largest allowed.
        max: usize,
    },
    /// More words than a u32 can count.
    #[error("a [{out_features}, {in_features}] matrix has more than 2^32 - 1 packed words")]
    TooLarge {
        /// Rows.
        out_features: usize,
        /// Columns.
        in_features: usize,
    },
    /// A group size that splits a word.
    #[error("group size {size} is not a positive multiple of 16")]
    GroupSize {
        /// Inputs per group.
        size: usize,
    },
    /// Segments that do not add up.
    #[error("row segments {rows:?} must be positive and add up to {out_features}")]
    Segments {
        /// Rows of each segment.
        rows: Vec<usize>,
        /// Rows of the matrix.
        out_features: usize,
    },
}

/// A stored header that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Not a tritburn header.
    #[error("header starts with {found:#010x}, expected {expected:#010x}")]
    Magic {
        /// First word found.
        found: u32,
        /// First word expected.
        expected: u32,
    },
    /// Written by a version this one cannot read.
    #[error("header version {found} is not supported, this build reads version {supported}")]
    Version {
        /// Version found.
        found: u32,
        /// Version supported.
        supported: u32,
    },
    /// The header ends early or carries more than it says.
    #[error("header has {found} words, expected {expected}")]
    Length {
        /// Words found.
        found: usize,
        /// Words expected.
        expected: usize,
    },
    /// A field holds a value without a meaning.
    #[error("header field `{field}` has the unknown value {value}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// Value found.
        value: u32,
    },
    /// The fields are readable but describe no valid matrix.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}
