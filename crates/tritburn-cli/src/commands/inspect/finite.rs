//! Float tensors that hold something else than numbers.

use tritburn_formats::file::{FileError, TensorInfo, TensorSource};
use tritburn_models::checkpoint::{FloatTensorData, FloatType};

use crate::error::message;

/// Bytes read at once: embeddings are large.
const PIECE: usize = 1 << 24;

/// A line for every float tensor with NaN or infinity in it, or that cannot be read.
pub fn problems(source: &dyn TensorSource) -> Vec<String> {
    let problem = |info: &TensorInfo| {
        let dtype = FloatType::from_dtype(info.dtype)?;
        match count(source, info, dtype) {
            Ok(0) => None,
            Ok(n) => Some(format!("{}: {n} values are NaN or infinite", info.name)),
            Err(error) => Some(message(&error.into())),
        }
    };
    source.tensors().iter().filter_map(problem).collect()
}

/// How many values of a tensor are NaN or infinite.
fn count(
    source: &dyn TensorSource,
    info: &TensorInfo,
    dtype: FloatType,
) -> Result<usize, FileError> {
    let mut found = 0;
    for start in (0..info.byte_len).step_by(PIECE) {
        let end = info.byte_len.min(start + PIECE);
        let bytes = source.read_range(&info.name, start..end)?;
        let piece = FloatTensorData {
            dtype,
            shape: vec![bytes.len() / dtype.size()],
            bytes,
        };
        found += piece.to_f32().iter().filter(|v| !v.is_finite()).count();
    }
    Ok(found)
}
