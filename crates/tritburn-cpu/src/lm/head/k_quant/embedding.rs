//! Rows of a table.

use tritburn_formats::codec::gguf::k_quant::dequantize_row;

use super::KQuantView;
use crate::error::{CpuError, area, expect_len};
use crate::parallel::{self, OutPtr};

/// `out[t] = table[ids[t]]` for a table `[V, k]`, ids `[T]` and out `[T, k]`, the values as ggml has them. The row of an
/// id that is not below V is NaN, as [`embedding`](crate::embedding) has it.
///
/// # Errors
/// [`CpuError::Length`] if a slice does not fit.
pub fn k_quant_embedding(
    table: KQuantView<'_>,
    ids: &[u32],
    out: &mut [f32],
) -> Result<(), CpuError> {
    let k = table.k;
    expect_len("out", out.len(), area(ids.len(), k)?)?;
    let out = OutPtr::new(out);
    let parallel = parallel::worth_it(ids.len().saturating_mul(k).saturating_mul(16));
    parallel::for_ranges(parallel, ids.len(), 1, usize::MAX, |tokens| {
        for token in tokens {
            // SAFETY: `out` has a row for each token, this task's own.
            let to = unsafe { out.slice(token * k, k) };
            match ids[token] as usize {
                id if id < table.rows => dequantize_row(table.kind, table.row(id), to),
                _ => to.fill(f32::NAN),
            }
        }
    });
    Ok(())
}
