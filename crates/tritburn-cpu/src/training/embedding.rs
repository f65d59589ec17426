//! The gradient of an embedding table.

use crate::error::{CpuError, area, expect_len};
use crate::parallel::{self, OutPtr};

/// `d_table[ids[t]] += dy[t]` over all tokens in their order, for dy `[T, k]`, ids `[T]` and
/// d_table `[V, k]`, which is overwritten. An id that is not below V adds to nothing.
///
/// # Errors
/// [`CpuError::EmptyRow`] if `k` is zero, [`CpuError::Length`] if a slice does not fit.
pub fn embedding_backward(
    dy: &[f32],
    k: usize,
    ids: &[u32],
    d_table: &mut [f32],
) -> Result<(), CpuError> {
    let vocabulary = d_table.len().checked_div(k).ok_or(CpuError::EmptyRow)?;
    expect_len("d_table", d_table.len(), vocabulary * k)?;
    expect_len("dy", dy.len(), area(ids.len(), k)?)?;
    d_table.fill(0.0);
    let table = OutPtr::new(d_table);
    // A task owns rows of the table and looks for their tokens.
    let parallel = parallel::worth_it(ids.len().saturating_mul(k).saturating_mul(4));
    parallel::for_ranges(parallel, vocabulary, 1, usize::MAX, |rows| {
        for (&id, dy) in ids.iter().zip(dy.chunks_exact(k)) {
            let id = id as usize;
            if rows.contains(&id) {
                // SAFETY: the row is this task's own.
                let row = unsafe { table.slice(id * k, k) };
                for (sum, dy) in row.iter_mut().zip(dy) {
                    *sum += dy;
                }
            }
        }
    });
    Ok(())
}
