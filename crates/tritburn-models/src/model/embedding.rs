//! The embedding table.

use burn::tensor::{DType, Int, Tensor};
use tritburn::transformer::{self, KQuantTable};

use super::error::ModelError;

/// Rows `[vocabulary, hidden]`.
#[derive(Clone, Debug)]
pub(super) enum Embedding {
    /// Of a float type.
    Dense(Tensor<2>),
    /// In the blocks of a GGUF file.
    KQuant(KQuantTable),
}

impl Embedding {
    /// The rows of `ids` `[tokens]` as `dtype` `[tokens, hidden]`.
    pub fn rows(&self, ids: Tensor<1, Int>, dtype: DType) -> Result<Tensor<2>, ModelError> {
        Ok(match self {
            Self::Dense(table) => transformer::embedding(table.clone(), ids, dtype)?,
            Self::KQuant(table) => table.embedding(ids, dtype)?,
        })
    }

    /// Bytes on the device.
    pub fn byte_count(&self) -> usize {
        match self {
            Self::Dense(table) => table.shape().num_elements() * table.dtype().size(),
            Self::KQuant(table) => table.byte_count(),
        }
    }
}
