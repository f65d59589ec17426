//! Errors of layouts, headers and packed matrices.

use thiserror::Error;

use crate::code::WeightCode;
use crate::header::FORMAT_NAME;
use crate::scale::ScaleGranularity;

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
    /// More row segments than kernels carry.
    #[error("{count} row segments, at most {max} are possible")]
    SegmentCount {
        /// Segments given.
        count: usize,
        /// Largest allowed.
        max: usize,
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
    /// A JSON header of another format.
    #[error("header is of format {found:?}, expected {FORMAT_NAME:?}")]
    Format {
        /// Format name found.
        found: String,
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

/// Weights, words or scales that do not make a packed matrix.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum MatrixError {
    /// A buffer of the wrong length.
    #[error("{what}: got {found} values, expected {expected}")]
    Length {
        /// Which buffer.
        what: &'static str,
        /// Values found.
        found: usize,
        /// Values expected.
        expected: usize,
    },
    /// A NaN or infinite weight.
    #[error("weight [{row}, {col}] is {value}: only finite weights can be packed")]
    NonFinite {
        /// Row of the first such weight.
        row: usize,
        /// Column of it.
        col: usize,
        /// The weight.
        value: f32,
    },
    /// Finite weights whose absolute mean is beyond f32.
    #[error("the scale with index {index} overflows f32: the weights are too large to pack")]
    ScaleOverflow {
        /// Index of the first such scale.
        index: usize,
    },
    /// A stored code without a meaning.
    #[error("weight [{row}, {col}] has the code {code}, which {table:?} does not define")]
    InvalidCode {
        /// Row of the first such code.
        row: usize,
        /// Column of it.
        col: usize,
        /// The code.
        code: u32,
        /// Code table of the matrix.
        table: WeightCode,
    },
    /// Nothing to fuse.
    #[error("no matrices to concatenate")]
    NothingToConcat,
    /// Matrices that differ in width or code.
    #[error(
        "matrix {index} has {in_features} inputs of code {code:?}, the first one has \
         {first_in_features} of {first_code:?}"
    )]
    ConcatShape {
        /// Index of the odd one.
        index: usize,
        /// Its columns.
        in_features: usize,
        /// Its code.
        code: WeightCode,
        /// Columns of matrix 0.
        first_in_features: usize,
        /// Code of matrix 0.
        first_code: WeightCode,
    },
    /// A granularity at which the scales of the matrix would not be mere copies.
    #[error("scales per {found:?} cannot be copied to scales per {wanted:?}, which are not finer")]
    Refine {
        /// Granularity of the matrix.
        found: ScaleGranularity,
        /// Granularity asked for.
        wanted: ScaleGranularity,
    },
    /// A scale of zero over codes that have no zero.
    #[error("scale {index} is 0, and {code:?} codes have none for a zero weight")]
    ZeroScale {
        /// Index of the first such scale.
        index: usize,
        /// Code table of the matrix.
        code: WeightCode,
    },
    /// Rows that are no whole number of rotary heads.
    #[error("{rows} rows are no heads of {head_size}, which must be even")]
    HeadSize {
        /// Rows of the matrix.
        rows: usize,
        /// Rows of a head.
        head_size: usize,
    },
    /// Not an order of rows, or one that mixes segments.
    #[error("entry {row} makes the order no order of {rows} rows, each once and in its segment")]
    RowOrder {
        /// First entry that is wrong or missing.
        row: usize,
        /// Rows of the matrix.
        rows: usize,
    },
    /// The result would be no valid layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// Refuses a buffer of the wrong length.
pub(crate) fn check_length(
    what: &'static str,
    found: usize,
    expected: usize,
) -> Result<(), MatrixError> {
    if found == expected {
        return Ok(());
    }
    Err(MatrixError::Length {
        what,
        found,
        expected,
    })
}
