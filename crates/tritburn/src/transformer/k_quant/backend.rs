//! The backend extension trait.

// With no backend compiled in, the generated dispatch has nothing to pass the arguments to.
#![cfg_attr(not(feature = "flex"), allow(unused_variables))]

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, backend_extension};
use burn::tensor::DType;

use super::table::KQuantLayout;

/// What a table of K-quantised rows is read for. Only Flex has it.
///
/// Callers check shapes, dtypes and devices first: use [`KQuantTable`](super::KQuantTable). `words` are
/// the bytes of the blocks, U32, with zeros behind them to a whole word.
#[backend_extension(Flex: cfg(feature = "flex"))]
pub trait KQuantOps: Backend {
    /// Rows `ids` `[T]` as `dtype` `[T, columns]`; NaN for an id that is not a row.
    fn k_quant_embedding(
        words: IntTensor<Self>,
        ids: IntTensor<Self>,
        layout: KQuantLayout,
        dtype: DType,
    ) -> FloatTensor<Self>;

    /// `x · tableᵀ` as F32 `[T, rows]`.
    fn k_quant_head(
        x: FloatTensor<Self>,
        words: IntTensor<Self>,
        layout: KQuantLayout,
    ) -> FloatTensor<Self>;
}
