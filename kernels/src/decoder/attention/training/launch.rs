//! Checked launches of the forward and the backward pass.

use cubecl::prelude::*;

use super::base::AttentionShape;
use super::cuda::{self, FlashPlans};
use super::portable;
use crate::error::KernelError;
use crate::operand::{Buffer, FloatMatrix};

/// `out[t] = softmax(scale · q[t] · Kᵀ) · V` for each query head, where token `t` attends to the positions
/// of its sequence up to its own.
///
/// A row of `qkv` `[batch·length, (heads + 2·kv_heads)·dim]` holds a token's rotated queries, then its keys,
/// then its values. Rows may be pitched. `out` is `[batch·length, heads·dim]` in the type of `qkv`.
/// `statistics` is f32 `[batch·heads·length]`, the length innermost: `ln Σ exp(scale · q · k)` of each row of
/// scores, which [`backward`] needs. Without tokens nothing is launched.
///
/// # Errors
/// [`KernelError`] if shapes or types differ, the query heads are not a multiple of the key heads, or the
/// device lacks the type.
pub fn forward(
    client: &Client,
    qkv: &FloatMatrix,
    shape: &AttentionShape,
    scale: f32,
    out: &FloatMatrix,
    statistics: &Buffer,
) -> Result<(), KernelError> {
    match FlashPlans::new(shape.dim, qkv.dtype()) {
        Some(plans) if plans.check(client, shape, scale, qkv, out).is_ok() => {
            cuda::forward(client, qkv, shape, scale, out, statistics, &plans)
        }
        _ => portable::forward(client, qkv, shape, scale, out, statistics),
    }
}

/// Writes the gradient of `qkv` to `d_qkv`, every element of it. `out` and `statistics` are what [`forward`]
/// wrote with the same `scale`, and `d_out` is the gradient of `out`. A gradient has the shape and type of
/// what it is the gradient of.
///
/// # Errors
/// As [`forward`].
#[allow(
    clippy::too_many_arguments,
    reason = "operands and results of two matrices"
)]
pub fn backward(
    client: &Client,
    qkv: &FloatMatrix,
    out: &FloatMatrix,
    statistics: &Buffer,
    d_out: &FloatMatrix,
    shape: &AttentionShape,
    scale: f32,
    d_qkv: &FloatMatrix,
) -> Result<(), KernelError> {
    match FlashPlans::new(shape.dim, qkv.dtype()) {
        Some(plans)
            if plans.check(client, shape, scale, qkv, out).is_ok()
                && plans.check(client, shape, scale, d_out, d_qkv).is_ok() =>
        {
            cuda::backward(
                client, qkv, out, statistics, d_out, shape, scale, d_qkv, &plans,
            )
        }
        _ => portable::backward(client, qkv, out, statistics, d_out, shape, scale, d_qkv),
    }
}
