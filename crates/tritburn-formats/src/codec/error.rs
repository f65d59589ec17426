//! What can be wrong with stored weights, or with weights to store.

use thiserror::Error;

use crate::code::WeightCode;
use crate::error::{LayoutError, MatrixError};
use crate::file::gguf::GgmlType;
use crate::scale::ScaleGranularity;

/// Stored data that is no valid matrix of its format, or a matrix that the format cannot hold.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum CodecError {
    /// Data of another length than the shape asks for.
    #[error("{format}: {found} {what}, expected {expected}")]
    Length {
        /// Format.
        format: &'static str,
        /// What was counted.
        what: &'static str,
        /// Number found.
        found: usize,
        /// Number expected.
        expected: usize,
    },
    /// A block type whose values are not known here.
    #[error("values of the type {kind} cannot be read")]
    Type {
        /// The type.
        kind: GgmlType,
    },
    /// A size that the format cannot cut into its units.
    #[error("{format}: {what} is {value}, not a multiple of {multiple}")]
    Multiple {
        /// Format.
        format: &'static str,
        /// Which size.
        what: &'static str,
        /// Its value.
        value: usize,
        /// What it must be a multiple of.
        multiple: usize,
    },
    /// A stored code without a meaning.
    #[error("{format}: weight [{row}, {col}] has the stored code {code}, which means nothing")]
    InvalidCode {
        /// Format.
        format: &'static str,
        /// Row of the first such code.
        row: usize,
        /// Column of it.
        col: usize,
        /// The code as stored.
        code: u32,
    },
    /// A byte that no weights are stored as.
    #[error("{format}: byte {offset} is {byte:#04x}, which is no group of ternary weights")]
    InvalidByte {
        /// Format.
        format: &'static str,
        /// Offset of the first such byte in the tensor.
        offset: usize,
        /// The byte.
        byte: u8,
    },
    /// Codes that the format has no place for.
    #[error("{format} holds ternary weights, not {code:?} codes")]
    CodeTable {
        /// Format.
        format: &'static str,
        /// Code table of the matrix.
        code: WeightCode,
    },
    /// Scales that the format has no place for.
    #[error("{format} cannot hold scales per {scale:?}")]
    Granularity {
        /// Format.
        format: &'static str,
        /// Granularity of the matrix.
        scale: ScaleGranularity,
    },
    /// Several scales where the format has one.
    #[error("{format} holds one scale, but scale {index} is {value} and scale 0 is {first}")]
    ScalesDiffer {
        /// Format.
        format: &'static str,
        /// Index of the first scale that differs.
        index: usize,
        /// That scale.
        value: f32,
        /// Scale 0.
        first: f32,
    },
    /// A scale that would be rounded, without leave to round.
    #[error("scale {index} is {value}, which would be stored as {stored}")]
    InexactScale {
        /// Index of the first such scale.
        index: usize,
        /// The scale.
        value: f32,
        /// What would be read back.
        stored: f32,
    },
    /// A scale that is not finite, or would be stored as zero or infinity.
    #[error("scale {index} is {value}, which cannot be used or stored")]
    BadScale {
        /// Index of the scale.
        index: usize,
        /// The scale.
        value: f32,
    },
    /// A scale entry behind the last segment that is not zero: the segments are probably wrong.
    #[error("scale entry {index} is {value}, but the tensor has {segments} row segments")]
    UnusedScale {
        /// Index of the entry.
        index: usize,
        /// Its value.
        value: f32,
        /// Segments given.
        segments: usize,
    },
    /// A group of 32 inputs that does not keep exactly 16.
    #[error("16:32 sparsity: row {row} keeps {kept} of inputs {first}..{first} + 32", first = 32 * group)]
    Kept {
        /// Row of the first such group.
        row: usize,
        /// Index of the group in the row.
        group: usize,
        /// Inputs kept.
        kept: u32,
    },
    /// A dropped input with a code, which would be lost.
    #[error("16:32 sparsity: weight [{row}, {col}] is dropped but has the code {code}")]
    Dropped {
        /// Row of the first such weight.
        row: usize,
        /// Column of it.
        col: usize,
        /// Its code.
        code: u8,
    },
    /// A negative scale, which selects a code table of powers of two.
    #[error("scale {index} is negative ({value}): weights in exponent mode are not affine")]
    ExponentMode {
        /// Index of the first such scale.
        index: usize,
        /// The scale.
        value: f32,
    },
    /// Something that the format does not store.
    #[error("{format} has no place for {what}")]
    NoPlace {
        /// Format.
        format: &'static str,
        /// What it is.
        what: &'static str,
    },
    /// A zero point that is no integer of the range that the format stores.
    #[error(
        "{format}: the zero point of row {row}, group {group} is {zero}, not an integer from {min} \
         to {max}"
    )]
    ZeroRange {
        /// Format.
        format: &'static str,
        /// Row of the first such zero point.
        row: usize,
        /// Group of it.
        group: usize,
        /// The zero point.
        zero: f32,
        /// Smallest that can be stored.
        min: u8,
        /// Largest that can be stored.
        max: u8,
    },
    /// An input that belongs to no group.
    #[error("{format}: g_idx gives input {input} the group {group}, of {groups}")]
    GroupIndex {
        /// Format.
        format: &'static str,
        /// First such input.
        input: usize,
        /// Its group.
        group: i32,
        /// Groups of the matrix.
        groups: usize,
    },
    /// A group that more or fewer inputs belong to than it has.
    #[error("{format}: g_idx gives group {group} {found} inputs, expected {expected}")]
    GroupInputs {
        /// Format.
        format: &'static str,
        /// First such group.
        group: usize,
        /// Inputs found.
        found: usize,
        /// Inputs expected.
        expected: usize,
    },
    /// A configuration value that is not known.
    #[error("`{field}` is {value:?}, which is not known")]
    Config {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: String,
    },
    /// No valid packed matrix has this shape.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The parts do not make a packed matrix.
    #[error(transparent)]
    Pack(#[from] MatrixError),
}
