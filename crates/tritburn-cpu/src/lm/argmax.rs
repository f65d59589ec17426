//! Greedy choice of the next token.

use crate::error::{CpuError, area, expect_len};
use crate::parallel::{self, OutPtr};

/// `ids[t]`: the index of the largest logit of row `t` of `logits` `[T, columns]`, the lowest of several. A row
/// that holds NaN gives `columns`, which is no index; a row of -∞ alone gives 0.
///
/// # Errors
/// [`CpuError::EmptyRow`] if `columns` is zero, [`CpuError::Length`] if `logits` is not `[T, columns]`,
/// [`CpuError::TooLarge`] for indices that do not fit u32.
///
/// # Examples
///
/// ```
/// let logits = [0.5, 2.0, 2.0, f32::NAN, 9.0, 1.0];
/// let mut ids = [0; 2];
/// tritburn_cpu::argmax(&logits, 3, &mut ids)?;
/// assert_eq!(ids, [1, 3]);
/// # Ok::<(), tritburn_cpu::CpuError>(())
/// ```
pub fn argmax(logits: &[f32], columns: usize, ids: &mut [u32]) -> Result<(), CpuError> {
    let parallel = parallel::worth_it(logits.len());
    choose(logits, columns, parallel, ids, |_, row| {
        first_largest(row.iter().copied())
    })
}

/// `ids[t]`: what `column` says of row `t`; `columns` for `None`.
pub(super) fn choose(
    logits: &[f32],
    columns: usize,
    parallel: bool,
    ids: &mut [u32],
    column: impl Fn(usize, &[f32]) -> Option<u32> + Sync,
) -> Result<(), CpuError> {
    let rows = ids.len();
    if columns == 0 {
        return Err(CpuError::EmptyRow);
    }
    let none = u32::try_from(columns).map_err(|_| CpuError::TooLarge { rows, columns })?;
    expect_len("logits", logits.len(), area(rows, columns)?)?;
    let out = OutPtr::new(ids);
    parallel::for_ranges(parallel, rows, 1, usize::MAX, |rows| {
        for row in rows {
            let id = column(row, &logits[row * columns..][..columns]).unwrap_or(none);
            // SAFETY: `ids` has an element for each row, this task's own.
            unsafe { out.write(row, id) };
        }
    });
    Ok(())
}

/// The index of the first largest value; `None` where one is NaN.
pub(super) fn first_largest(values: impl Iterator<Item = f32>) -> Option<u32> {
    let mut best = (0, f32::NEG_INFINITY);
    for (id, value) in values.enumerate() {
        if value.is_nan() {
            return None;
        }
        if value > best.1 {
            best = (id as u32, value);
        }
    }
    Some(best.0)
}
