//! Rows of an embedding table.

use super::element::Element;
use super::vector::{self, Lanes, Work};
use crate::error::{CpuError, area, expect_len};
use crate::isa::Isa;
use crate::parallel::{self, OutPtr};

/// `out[t] = table[ids[t]]` for a table `[V, k]`, ids `[T]` and out `[T, k]`, exact.
///
/// The row of an id that is not below V is NaN, as on every other device: ids may be computed where
/// nobody checks them, and NaN reaches the logits instead of passing for a token.
///
/// # Errors
/// [`CpuError::EmptyRow`] if `k` is zero, [`CpuError::Length`] if a slice does not fit.
pub fn embedding<E: Element>(
    table: &[E],
    k: usize,
    ids: &[u32],
    out: &mut [f32],
) -> Result<(), CpuError> {
    embedding_with(Isa::detect(), table, k, ids, out)
}

/// [`embedding`] on a given instruction set; all give the same bits.
///
/// # Errors
/// Those of [`embedding`], and [`CpuError::Unavailable`].
pub fn embedding_with<E: Element>(
    isa: Isa,
    table: &[E],
    k: usize,
    ids: &[u32],
    out: &mut [f32],
) -> Result<(), CpuError> {
    isa.require()?;
    let vocabulary = table.len().checked_div(k).ok_or(CpuError::EmptyRow)?;
    expect_len("table", table.len(), vocabulary * k)?;
    expect_len("out", out.len(), area(ids.len(), k)?)?;
    let out = OutPtr::new(out);
    E::embedding(isa, EmbeddingJob { table, k, ids, out });
    Ok(())
}

/// Checked operands.
pub struct EmbeddingJob<'a, E> {
    table: &'a [E],
    k: usize,
    ids: &'a [u32],
    out: OutPtr<f32>,
}

impl<E: Element> EmbeddingJob<'_, E> {
    pub(super) fn run(self, isa: Isa) {
        let Self { table, k, ids, out } = self;
        let parallel = parallel::worth_it(ids.len().saturating_mul(k).saturating_mul(4));
        parallel::for_ranges(parallel, ids.len(), 1, usize::MAX, |tokens| {
            for token in tokens {
                // SAFETY: `out` has a row for each token, this task's own.
                let to = unsafe { out.slice(token * k, k) };
                match table.chunks_exact(k).nth(ids[token] as usize) {
                    // SAFETY: the set is available.
                    Some(from) => unsafe { vector::run(isa, Widen { from, to }) },
                    None => to.fill(f32::NAN),
                }
            }
        });
    }
}

/// Converts one row.
struct Widen<'a, E> {
    from: &'a [E],
    to: &'a mut [f32],
}

impl<E: Element> Work for Widen<'_, E> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        // SAFETY: the caller's promise.
        unsafe { vector::widen::<L, E>(self.from, self.to) }
    }
}
