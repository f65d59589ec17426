//! Rows of a table.

use burn::backend::Dispatch;
use burn::tensor::{DType, Int, Tensor};

use super::super::backend::TrainingOps;
use crate::error::Error;
use crate::ops::{check_device, check_float, check_ready, check_word_dtype, check_written};

/// Rows of an embedding table in `dtype`; an id outside of the table gives NaN.
///
/// # Shapes
/// `table` `[vocabulary, features]` of any float dtype, `ids` U32 `[batch, length]`; returns
/// `[batch, length, features]`. Differentiable in the table; the gradient has its dtype and is
/// summed in f32.
///
/// # Errors
/// [`Error::DType`] or [`Error::Device`].
pub fn embedding(table: Tensor<2>, ids: Tensor<2, Int>, dtype: DType) -> Result<Tensor<3>, Error> {
    check_float("embedding table", table.dtype(), &table.device())?;
    check_written("embedding", dtype, &table.device())?;
    check_word_dtype("token ids", ids.dtype())?;
    check_device("token ids", &ids.device(), &table.device())?;
    check_ready(&table.device())?;
    let ([batch, length], [_, features]) = (ids.dims(), table.dims());
    let shape = [batch, length, features];
    if shape.contains(&0) {
        return Ok(Tensor::empty(shape, (&table.device(), dtype)));
    }
    let ids = ids.reshape([batch * length]);
    let x = Tensor::<2>::from_dispatch(<Dispatch as TrainingOps>::token_embedding(
        table.into_dispatch(),
        ids.into_dispatch(),
        dtype,
    ));
    Ok(x.reshape(shape))
}
