//! Causal attention of whole sequences.

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use super::super::backend::TrainingOps;
use super::super::operand::Optional;
use super::check::{Rows, check_f32};
use crate::error::Error;
use crate::ops::{check_device, check_shape, runs_kernels};
use crate::transformer::Heads;

/// Rotary embedding (Su et al. 2021, arXiv 2104.09864) and causal attention with grouped heads
/// (Ainslie et al. 2023, arXiv 2305.13245): `softmax(q · kᵀ / √size) · v` over the tokens up to
/// each token of its sequence. Token t stands at position t.
///
/// No matrix of `[length, length]` is held: the backward pass computes scores again (Dao et al.
/// 2022, arXiv 2205.14135).
///
/// # Shapes
/// `qkv` `[batch, length, heads.fused_width()]` of f32, bf16 or f16: queries, keys, values. `table`
/// as [`rotary_table`](crate::training::rotary_table) makes it, of at least `length` positions;
/// without one nothing is rotated. Returns `[batch, length, heads.query_width()]` in the dtype of
/// `qkv`, and is differentiable in it.
///
/// # Errors
/// [`Error::Heads`] for heads that do not fit each other, [`Error::HeadSize`] for a size that a
/// CubeCL device has no kernels for, [`Error::InputFeatures`], [`Error::Shape`], [`Error::DType`] or
/// [`Error::Device`].
pub fn rotary_attention(
    qkv: Tensor<3>,
    table: Option<Tensor<1>>,
    heads: Heads,
) -> Result<Tensor<3>, Error> {
    heads.check()?;
    let rows = Rows::new("q|k|v", &qkv, heads.fused_width())?;
    let device = qkv.device();
    if runs_kernels(&device) && !heads.has_kernels() {
        return Err(Error::HeadSize {
            device: format!("{device:?}"),
            found: heads.size,
        });
    }
    let [batch, length, _] = qkv.dims();
    if let Some(table) = &table {
        check_f32("rotary table", table.dtype())?;
        let positions = (table.dims()[0] / heads.size).max(length);
        check_shape("rotary table", &table.dims(), &[positions * heads.size])?;
        check_device("rotary table", &table.device(), &device)?;
    }
    let table: Optional<Dispatch> = table.map(Tensor::into_dispatch).into();
    Ok(rows.map(qkv, heads.query_width(), |qkv| {
        let qkv = qkv.into_dispatch();
        Tensor::from_dispatch(<Dispatch as TrainingOps>::rotary_attention(
            qkv, table, heads, batch,
        ))
    }))
}
