//! Splitting work over the current rayon pool.

use std::ops::Range;

use rayon::prelude::*;

/// Products below this many multiply-adds finish before a sleeping thread would have woken.
const PARALLEL_MIN_OPS: usize = 1 << 20;

/// Tasks a thread should get, so that a thread slowed by other programs holds up little.
const TASKS_PER_THREAD: usize = 8;

/// Whether `ops` multiply-adds are worth more than one thread.
pub(crate) fn worth_it(ops: usize) -> bool {
    ops >= PARALLEL_MIN_OPS && rayon::current_num_threads() > 1
}

/// Runs `body` over `0..len` in contiguous ranges that begin at multiples of `align` and are at
/// most `max_len` long, in parallel if `parallel`.
pub(crate) fn for_ranges(
    parallel: bool,
    len: usize,
    align: usize,
    max_len: usize,
    body: impl Fn(Range<usize>) + Sync,
) {
    let tasks = match parallel {
        true => rayon::current_num_threads() * TASKS_PER_THREAD,
        false => 1,
    };
    let step = len
        .div_ceil(tasks)
        .min(max_len)
        .max(1)
        .next_multiple_of(align);
    let range = |task: usize| task * step..((task + 1) * step).min(len);
    let count = len.div_ceil(step);
    if parallel && count > 1 {
        (0..count)
            .into_par_iter()
            .for_each(|task| body(range(task)));
    } else {
        (0..count).for_each(|task| body(range(task)));
    }
}

/// An output matrix that tasks write disjoint elements of.
pub(crate) struct OutPtr<T>(*mut T);

impl<T> Clone for OutPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for OutPtr<T> {}

// SAFETY: the pointer is only used through `write` and `slice`, whose callers keep elements disjoint.
unsafe impl<T: Send> Send for OutPtr<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for OutPtr<T> {}

impl<T> OutPtr<T> {
    pub(crate) fn new(slice: &mut [T]) -> Self {
        Self(slice.as_mut_ptr())
    }

    /// Writes one element.
    ///
    /// # Safety
    /// `index` is inside the slice this was made of, the slice is still borrowed, and no other
    /// task touches the element.
    #[inline(always)]
    pub(crate) unsafe fn write(self, index: usize, value: T) {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(index).write(value) }
    }

    /// `len` elements from `start` on.
    ///
    /// # Safety
    /// The elements are inside the slice this was made of, the slice is still borrowed for `'a`,
    /// and nobody else touches them meanwhile.
    #[inline(always)]
    pub(crate) unsafe fn slice<'a>(self, start: usize, len: usize) -> &'a mut [T] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), len) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn ranges_cover_everything_once_and_start_aligned() {
        for (len, align, max_len) in [
            (0, 4, 64),
            (1, 4, 64),
            (7, 4, 64),
            (1000, 16, 64),
            (9, 1, 2),
        ] {
            for parallel in [false, true] {
                let seen = Mutex::new(vec![0; len]);
                for_ranges(parallel, len, align, max_len, |range| {
                    assert!(range.start % align == 0 && range.len() <= max_len);
                    seen.lock().unwrap()[range].iter_mut().for_each(|n| *n += 1);
                });
                assert!(seen.into_inner().unwrap().iter().all(|&n| n == 1));
            }
        }
    }
}
