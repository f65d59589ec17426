//! The product that attention is made of: rows of broadcast floats times vectors.

use super::super::vector::{LANES, Lanes};

/// Rows of a tile.
pub(crate) const ROWS: usize = 4;

/// The left side of a tile: floats at `at + r·row + k·step`.
#[derive(Clone, Copy)]
pub(crate) struct Broadcast {
    pub at: *const f32,
    pub row: usize,
    pub step: usize,
}

/// `c[r] = c[r]·decay[r] + Σ_k a[r, k]·b[k]` for [`ROWS`] rows of `N` vectors, starting from zero
/// without a decay. Lines of `b` follow each other, those of `c` are `c_row` floats apart.
///
/// # Safety
/// The set is available and all operands are valid.
#[inline(always)]
pub(crate) unsafe fn tile<L: Lanes, const N: usize>(
    a: Broadcast,
    b: *const f32,
    k: usize,
    decay: Option<*const f32>,
    c: *mut f32,
    c_row: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[L::splat(0.0); N]; ROWS];
        if let Some(decay) = decay {
            for r in 0..ROWS {
                let decay = L::splat(*decay.add(r));
                for n in 0..N {
                    sums[r][n] = L::mul(L::load(c.add(r * c_row + n * LANES)), decay);
                }
            }
        }
        for step in 0..k {
            let mut line = [L::splat(0.0); N];
            for n in 0..N {
                line[n] = L::load(b.add((step * N + n) * LANES));
            }
            for r in 0..ROWS {
                let left = L::splat(*a.at.add(r * a.row + step * a.step));
                for n in 0..N {
                    sums[r][n] = L::fma(left, line[n], sums[r][n]);
                }
            }
        }
        for r in 0..ROWS {
            for n in 0..N {
                L::store(sums[r][n], c.add(r * c_row + n * LANES));
            }
        }
    }
}
