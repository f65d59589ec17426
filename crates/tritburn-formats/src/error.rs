//! Errors of layouts, headers and packed matrices.

use thiserror::Error;

use crate::affine::FloatType;
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
    /// 16:32 sparsity of codes or groups that it does not fit.
    #[error(
        "16:32 sparsity is for 4-bit codes in rows and groups of whole 32 inputs, not for {bits} \
         bits, {in_features} inputs, groups of {group_size:?}"
    )]
    Sparse {
        /// Bits of a code.
        bits: usize,
        /// Columns.
        in_features: usize,
        /// Inputs per group, `None` for one group a row.
        group_size: Option<usize>,
    },
    /// Zero points asked of a layout that has none.
    #[error("the layout stores no zero points, which {method} would search")]
    NoZeros {
        /// What wants them.
        method: &'static str,
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
    /// Affine matrices that are not stored alike.
    #[error("matrix {index} and the first one differ in their {what}")]
    ConcatAffine {
        /// Index of the odd one.
        index: usize,
        /// What differs.
        what: &'static str,
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
    /// A code that its bits cannot hold.
    #[error("weight [{row}, {col}] has the code {code}, over the {max} of its bits")]
    CodeRange {
        /// Row of the first such code.
        row: usize,
        /// Column of it.
        col: usize,
        /// The code.
        code: u8,
        /// Largest that fits.
        max: u8,
    },
    /// A part that the layout has and the matrix lacks.
    #[error("{what} are missing, which the layout has")]
    Missing {
        /// Which part.
        what: &'static str,
    },
    /// A part that the layout does not have.
    #[error("there are {what}, which the layout does not have")]
    Unexpected {
        /// Which part.
        what: &'static str,
    },
    /// Scales or zero points in another type than the layout says.
    #[error("{what} are {found}, the layout says {expected}")]
    FloatType {
        /// Which part.
        what: &'static str,
        /// Type found.
        found: FloatType,
        /// Type of the layout.
        expected: FloatType,
    },
    /// A scale of a group that is zero or not finite.
    #[error(
        "the scale of row {row}, group {group} is {value}: a finite number other than 0 is needed"
    )]
    GroupScale {
        /// Row of the first such scale.
        row: usize,
        /// Group in the row.
        group: usize,
        /// The scale.
        value: f32,
    },
    /// A zero point that is not finite.
    #[error("the zero point of row {row}, group {group} is {value}: a finite number is needed")]
    GroupZero {
        /// Row of the first such zero point.
        row: usize,
        /// Group in the row.
        group: usize,
        /// The zero point.
        value: f32,
    },
    /// A mask word that does not keep exactly 16 of 32 inputs.
    #[error("16:32 sparsity: row {row} keeps {kept} of inputs {first}..{first} + 32", first = 32 * unit)]
    Kept {
        /// Row of the first such mask.
        row: usize,
        /// Unit of 32 inputs in the row.
        unit: usize,
        /// Inputs kept.
        kept: u32,
    },
    /// Not an order of inputs.
    #[error("column {column} makes the order no order of {inputs} inputs, each once")]
    InputOrder {
        /// First column whose input is out of range or there already.
        column: usize,
        /// Inputs of the matrix.
        inputs: usize,
    },
    /// Moments of activations without an inverse.
    #[error("the moments of the activations have no inverse, from input {input} on")]
    Moments {
        /// Input at which it fails.
        input: usize,
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
