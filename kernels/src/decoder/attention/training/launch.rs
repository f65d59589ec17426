//! Checked launches of both passes.

use cubecl::prelude::*;

use super::base::AttentionShape;
use super::cuda::{self, FlashPlans};
use super::portable;
use crate::error::KernelError;
use crate::operand::{Buffer, FloatMatrix};

/// `out[t] = softmax(scale · q[t] · Kᵀ) · V` for each query head, over the positions up to that of token
/// `t` in its sequence.
///
/// A row of `qkv` `[batch·length, (heads + 2·kv_heads)·dim]` is a token: its rotated queries, then keys,
/// then values. Rows may be pitched. `out` is `[batch·length, heads·dim]` in the type of `qkv`.
/// `statistics` is f32 `[batch·heads·length]`, the length innermost: `ln Σ exp(scale · q · k)` of each row of
/// scores, which [`backward`] needs. No tokens launch nothing.
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

/// The gradient of `qkv`, written whole to `d_qkv`, for the gradient `d_out` of the output that [`forward`]
/// wrote to `out` and `statistics` with the same `scale`. Shapes and types of gradients are those of what
/// they belong to.
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
