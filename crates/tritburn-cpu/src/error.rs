//! Errors of the CPU kernels.

use thiserror::Error;
use tritburn_formats::affine::FloatType;

use crate::isa::Isa;

/// An operand that does not fit, or an instruction set this machine lacks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CpuError {
    /// A slice has the wrong number of elements.
    #[error("`{operand}` has {found} elements, expected {expected}")]
    Length {
        /// Name of the operand.
        operand: &'static str,
        /// Elements found.
        found: usize,
        /// Elements expected.
        expected: usize,
    },
    /// Activations and weights disagree on the number of inputs.
    #[error("activations have {activations} inputs a row, the weights have {weights}")]
    InFeatures {
        /// Inputs of an activation row.
        activations: usize,
        /// Inputs of the weight matrix.
        weights: usize,
    },
    /// An activation row of zero inputs.
    #[error("activation rows need at least one input")]
    EmptyRow,
    /// A matrix whose element count does not fit `usize`.
    #[error("a [{rows}, {columns}] matrix has more elements than this machine can address")]
    TooLarge {
        /// Rows.
        rows: usize,
        /// Columns.
        columns: usize,
    },
    /// Integer accumulators were asked of a matrix whose rows carry several scales.
    #[error("integer accumulators need one scale per row, the weights have one per {group} inputs")]
    GroupScales {
        /// Inputs per scale.
        group: usize,
    },
    /// Scales or zero points in another type than the layout says.
    #[error("`{operand}` are {found}, the layout says {expected}")]
    FloatType {
        /// Name of the operand.
        operand: &'static str,
        /// Type found.
        found: FloatType,
        /// Type of the layout.
        expected: FloatType,
    },
    /// An index that points outside what it selects from.
    #[error("`{operand}[{at}]` is {found}, expected below {limit}")]
    Index {
        /// Name of the operand that holds the index.
        operand: &'static str,
        /// Where in it.
        at: usize,
        /// The index found.
        found: usize,
        /// The first index that is too large.
        limit: usize,
    },
    /// Attention heads that do not fit each other.
    #[error(
        "{query} query heads of {dim} floats cannot share {kv} key and value heads: a multiple of \
         them and an even size are needed"
    )]
    Heads {
        /// Query heads.
        query: usize,
        /// Key and value heads.
        kv: usize,
        /// Floats of a head.
        dim: usize,
    },
    /// The instruction set asked for cannot run here.
    #[error("instruction set `{isa}` is not available on this machine")]
    Unavailable {
        /// What was asked for.
        isa: Isa,
    },
}

/// Checks the length of one operand.
pub(crate) fn expect_len(
    operand: &'static str,
    found: usize,
    expected: usize,
) -> Result<(), CpuError> {
    match found == expected {
        true => Ok(()),
        false => Err(CpuError::Length {
            operand,
            found,
            expected,
        }),
    }
}

/// `rows · columns`, refused where it does not fit.
pub(crate) fn area(rows: usize, columns: usize) -> Result<usize, CpuError> {
    rows.checked_mul(columns)
        .ok_or(CpuError::TooLarge { rows, columns })
}
