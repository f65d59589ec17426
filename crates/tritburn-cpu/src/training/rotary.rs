//! Rotary position embedding of whole sequences, and its gradient.

use crate::error::{CpuError, area, expect_len};
use crate::lm::Heads;
use crate::parallel::{self, OutPtr};

/// Rotates the queries and keys of `qkv` `[T, (Hq + 2·Hkv)·D]` in place: token t stands at position
/// `t mod length` of its sequence. Pairs are half-split, as
/// [`rotary_append`](crate::rotary_append) takes them: `(a, b)` becomes
/// `(a·cos - b·sin, b·cos + a·sin)`.
///
/// The rotation is orthogonal, so its gradient is the `inverse` rotation.
///
/// # Errors
/// [`CpuError::EmptyRow`] if `length` is zero, [`CpuError::Length`] if `qkv` has no whole number of
/// sequences or `table`, cosines and sines as `rotary_append` takes them, has fewer than `length`
/// positions.
pub fn rotate(
    qkv: &mut [f32],
    length: usize,
    heads: Heads,
    table: &[f32],
    inverse: bool,
) -> Result<(), CpuError> {
    let width = heads.qkv_width();
    let sequence = area(length, width)?;
    let sequences = qkv.len().checked_div(sequence).ok_or(CpuError::EmptyRow)?;
    expect_len("qkv", qkv.len(), sequences * sequence)?;
    let needed = area(length, heads.dim())?;
    expect_len("table", table.len().min(needed), needed)?;
    let tokens = sequences * length;
    let half = heads.dim() / 2;
    let sign = if inverse { -1.0 } else { 1.0 };
    let out = OutPtr::new(qkv);
    let rotated = heads.query_width() + heads.kv_width();
    let parallel = parallel::worth_it(tokens.saturating_mul(width).saturating_mul(4));
    parallel::for_ranges(parallel, tokens, 1, usize::MAX, |tokens| {
        for token in tokens {
            let (cos, sin) = table[(token % length) * heads.dim()..][..heads.dim()].split_at(half);
            // SAFETY: the token is this task's own.
            let row = unsafe { out.slice(token * width, rotated) };
            for head in row.chunks_exact_mut(heads.dim()) {
                let (a, b) = head.split_at_mut(half);
                for i in 0..half {
                    let (x, y, sin) = (a[i], b[i], sign * sin[i]);
                    a[i] = x * cos[i] - y * sin;
                    b[i] = y * cos[i] + x * sin;
                }
            }
        }
    });
    Ok(())
}
