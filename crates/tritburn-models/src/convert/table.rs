//! The type of embedding and head in a result.

use std::ops::Range;

use tritburn_formats::codec::gguf::k_quant::{KQuant, KQuantMatrix};
use tritburn_formats::file::DType;

use super::{ConvertError, Target};
use crate::checkpoint::{Checkpoint, FloatTensorData, FloatType, Table};

/// Rows of a table that are held at once.
const ROWS: usize = 4096;

/// Type of embedding and head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TableType {
    /// One that holds every value: the source's, or in GGUF, where programs expect it, F16 if it does.
    /// Tables in blocks of a K type keep them from GGUF to GGUF. A BitNet GPU checkpoint has bf16 in any case.
    #[default]
    Exact,
    /// This one, whatever it loses.
    Of(FloatType),
    /// Blocks of a K type, in GGUF.
    Blocks(KQuant),
}

impl TableType {
    /// How a table of `source` is written. Values of published tables are bf16, and some of them too
    /// small for F16: only reading all of them tells.
    pub(super) fn resolve(
        self,
        source: &dyn Checkpoint,
        target: Target,
        table: Table,
    ) -> Result<TableForm, ConvertError> {
        let own = source.table_type(table);
        match self {
            Self::Of(dtype) => Ok(TableForm::Float(dtype)),
            Self::Exact if target == Target::BitNetGpu => Ok(TableForm::Float(FloatType::BF16)),
            Self::Exact if target.is_file() => {
                if let Some(stored) = source.table_blocks(table)? {
                    return Ok(TableForm::Stored(stored));
                }
                for dtype in [FloatType::F16, FloatType::BF16] {
                    if is_exact(source, table, dtype)? {
                        return Ok(TableForm::Float(dtype));
                    }
                }
                Ok(TableForm::Float(own))
            }
            Self::Exact => Ok(TableForm::Float(own)),
            Self::Blocks(kind) => {
                let refused = |reason| ConvertError::Model {
                    target: target.name(),
                    reason,
                };
                if !target.is_file() {
                    return Err(refused(format!("tables of {kind} are for GGUF files")));
                }
                let width = source.config().hidden_size;
                if !width.is_multiple_of(256) {
                    let reason = format!("rows of {width} are no blocks of 256, as {kind} needs");
                    return Err(refused(reason));
                }
                let stored = source.table_blocks(table)?;
                Ok(match stored.filter(|stored| stored.kind() == kind) {
                    Some(stored) => TableForm::Stored(stored),
                    None => TableForm::Rounded(kind),
                })
            }
        }
    }
}

/// How a table is written.
pub(super) enum TableForm {
    /// As floats.
    Float(FloatType),
    /// In blocks that are made of the source's values.
    Rounded(KQuant),
    /// In the source's blocks.
    Stored(KQuantMatrix),
}

impl TableForm {
    /// The type as files have it.
    pub fn dtype(&self) -> DType {
        match self {
            Self::Float(dtype) => dtype.dtype(),
            Self::Rounded(kind) => DType::Ggml(kind.ggml()),
            Self::Stored(matrix) => DType::Ggml(matrix.kind().ggml()),
        }
    }

    /// The float type that holds what is read back.
    pub fn float_type(&self) -> FloatType {
        match self {
            Self::Float(dtype) => *dtype,
            Self::Rounded(_) | Self::Stored(_) => FloatType::F32,
        }
    }

    /// Some rows as they are written; `values` reads those of the source, where they are needed.
    pub fn bytes(
        &self,
        name: &str,
        rows: Range<usize>,
        values: impl FnOnce(Range<usize>) -> Result<FloatTensorData, ConvertError>,
    ) -> Result<Vec<u8>, ConvertError> {
        Ok(match self {
            Self::Float(dtype) => values(rows)?.convert(*dtype).0.bytes,
            Self::Rounded(kind) => {
                let values = values(rows)?;
                let bytes = kind.quantize_rows(&values.to_f32(), values.shape[1]);
                bytes.map_err(ConvertError::codec(name))?
            }
            Self::Stored(matrix) => {
                let row = matrix.kind().row_bytes(matrix.shape()[1]);
                matrix.bytes()[rows.start * row..rows.end * row].to_vec()
            }
        })
    }

    /// Some rows as they are read back, and how many values that changes.
    pub fn read_back(
        &self,
        name: &str,
        values: FloatTensorData,
    ) -> Result<(FloatTensorData, u64), ConvertError> {
        match self {
            Self::Float(dtype) => Ok(values.convert(*dtype)),
            Self::Stored(_) => Ok((values, 0)),
            Self::Rounded(kind) => {
                let [rows, width] = [values.shape[0], values.shape[1]];
                let before = values.to_f32();
                let matrix = KQuantMatrix::quantize(*kind, [rows, width], &before);
                let after = matrix.map_err(ConvertError::codec(name))?.dequantize();
                let changed = before.iter().zip(&after).filter(|(a, b)| a != b).count();
                let after = FloatTensorData::from_f32(FloatType::F32, values.shape, &after);
                Ok((after, changed as u64))
            }
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
