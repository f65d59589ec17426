//! Activations in the order in which the kernels decode weights, whole units of 32 to a row.

use tritburn_formats::affine::UNIT;

/// Floats of a line.
const LINE: usize = 16;

/// One cache line of activations.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([f32; LINE]);

/// M rows in the order of the weight columns, zero past the end of a row.
pub(super) struct Activations {
    lines: Vec<Line>,
    lines_per_row: usize,
}

impl Activations {
    /// Copies `x` `[M, k]`. `order` is the input of each column. `alternating` puts the columns
    /// 0, 8, 1, 9, .., 7, 15 of every 16 side by side.
    pub(super) fn new(x: &[f32], k: usize, order: Option<&[u32]>, alternating: bool) -> Self {
        let lines_per_row = k.div_ceil(UNIT) * (UNIT / LINE);
        let mut lines = Vec::with_capacity(x.len() / k * lines_per_row);
        for row in x.chunks_exact(k) {
            for line in 0..lines_per_row {
                let mut columns = [0.0; LINE];
                let first = line * LINE;
                let end = k.min(first + LINE);
                for column in first..end {
                    let input = order.map_or(column, |order| order[column] as usize);
                    columns[column - first] = row[input];
                }
                lines.push(Line(match alternating {
                    true => std::array::from_fn(|lane| columns[lane / 2 + lane % 2 * 8]),
                    false => columns,
                }));
            }
        }
        Self {
            lines,
            lines_per_row,
        }
    }

    /// First float of a row.
    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> *const f32 {
        self.lines[row * self.lines_per_row..].as_ptr().cast()
    }

    /// Floats from one row to the next.
    #[inline(always)]
    pub(super) fn stride(&self) -> usize {
        self.lines_per_row * LINE
    }
}
