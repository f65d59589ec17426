//! The type of embedding and head in a result.

use std::ops::Range;

use super::{ConvertError, Target};
use crate::checkpoint::{Checkpoint, FloatType, Table};

/// Rows of a table that are held at once.
const ROWS: usize = 4096;

/// Type of embedding and head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TableType {
    /// One that holds every value: the source's, or in GGUF, where programs expect it, F16 if it does.
    /// A BitNet GPU checkpoint has bf16 in any case.
    #[default]
    Exact,
    /// This one, whatever it loses.
    Of(FloatType),
}

impl TableType {
    /// The type for a table of `source`. Values of published tables are bf16, and some of them too
    /// small for F16: only reading all of them tells.
    pub(super) fn resolve(
        self,
        source: &dyn Checkpoint,
        target: Target,
        table: Table,
    ) -> Result<FloatType, ConvertError> {
        let own = source.table_type(table);
        match self {
            Self::Of(dtype) => Ok(dtype),
            Self::Exact if target == Target::BitNetGpu => Ok(FloatType::BF16),
            Self::Exact if target.is_file() => {
                for dtype in [FloatType::F16, FloatType::BF16] {
                    if is_exact(source, table, dtype)? {
                        return Ok(dtype);
                    }
                }
                Ok(own)
            }
            Self::Exact => Ok(own),
        }
    }
}

fn is_exact(source: &dyn Checkpoint, table: Table, dtype: FloatType) -> Result<bool, ConvertError> {
    if source.table_type(table) == dtype {
        return Ok(true);
    }
    for rows in pieces(source.config().vocab_size) {
        if source.table_rows(table, rows)?.convert(dtype).1 > 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The rows of a table, some at a time.
pub(super) fn pieces(count: usize) -> impl Iterator<Item = Range<usize>> {
    (0..count)
        .step_by(ROWS)
        .map(move |start| start..count.min(start + ROWS))
}
