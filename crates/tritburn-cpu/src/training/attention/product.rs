//! Products of small matrices, their right side in panels.

use crate::lm::attention::tile::{Broadcast, ROWS, tile};
use crate::lm::vector::{LANES, Lanes};

/// A matrix `[rows, columns]` as panels of columns that follow each other, `[panel, rows, width]`;
/// the last one is padded with zeros.
pub(super) struct Panels {
    floats: Vec<f32>,
    rows: usize,
    width: usize,
}

impl Panels {
    /// Zeros in panels of `vectors` vectors.
    pub(super) fn new(rows: usize, columns: usize, vectors: usize) -> Self {
        let width = vectors * LANES;
        Self {
            floats: vec![0.0; rows * columns.next_multiple_of(width)],
            rows,
            width,
        }
    }

    /// Writes a row.
    #[inline(always)]
    pub(super) fn set_row(&mut self, row: usize, from: &[f32]) {
        for (panel, from) in from.chunks(self.width).enumerate() {
            let at = (panel * self.rows + row) * self.width;
            self.floats[at..][..from.len()].copy_from_slice(from);
        }
    }

    /// Writes a column.
    #[inline(always)]
    pub(super) fn set_column(&mut self, column: usize, from: &[f32]) {
        let (panel, lane) = (column / self.width, column % self.width);
        let at = panel * self.rows * self.width + lane;
        for (to, from) in self.floats[at..].iter_mut().step_by(self.width).zip(from) {
            *to = *from;
        }
    }
}

/// What a product does with the current values of its output.
#[derive(Clone, Copy)]
pub(super) enum Output {
    Write,
    Add,
}

/// The left side of a product, `a[r, k]` at `floats[r·row + k·step]`.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub floats: &'a [f32],
    pub row: usize,
    pub step: usize,
}

/// `c[r] = Σ_k a[r, k] · b[k]` for `rows` rows, rounded up to those of a tile, and the panels that
/// hold the first `columns` columns of `b`. Rows of `c` are `c_row` floats apart.
///
/// # Safety
/// The set is available and `b` has panels of `N` vectors.
#[inline(always)]
pub(super) unsafe fn product<L: Lanes, const N: usize>(
    a: Left<'_>,
    b: &Panels,
    [rows, k, columns]: [usize; 3],
    c: &mut [f32],
    c_row: usize,
    output: Output,
) {
    const ONES: [f32; ROWS] = [1.0; ROWS];
    let (rows, panels) = (rows.next_multiple_of(ROWS), columns.div_ceil(b.width));
    if rows == 0 || k == 0 || panels == 0 {
        return;
    }
    assert!(a.floats.len() > (rows - 1) * a.row + (k - 1) * a.step);
    assert!(c.len() >= (rows - 1) * c_row + panels * b.width);
    assert!(k <= b.rows && panels * b.rows * b.width <= b.floats.len());
    let decay = match output {
        Output::Write => None,
        Output::Add => Some(ONES.as_ptr()),
    };
    for row in (0..rows).step_by(ROWS) {
        for panel in 0..panels {
            let left = Broadcast {
                at: a.floats[row * a.row..].as_ptr(),
                row: a.row,
                step: a.step,
            };
            let b = b.floats[panel * b.rows * b.width..].as_ptr();
            let at = row * c_row + panel * N * LANES;
            // SAFETY: the caller has the set; the operands were measured above.
            unsafe { tile::<L, N>(left, b, k, decay, c[at..].as_mut_ptr(), c_row) };
        }
    }
}
