//! The order in which tensor-core kernels read weights, and weights in that order.

use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};

use crate::device::DeviceFacts;
use crate::error::KernelError;
use crate::operand::Buffer;

/// Rows of a fragment tile.
pub const TILE_ROWS: usize = 64;
/// Columns of a fragment tile.
pub const TILE_COLS: usize = 128;
/// Words of a fragment tile: 128 threads read four each.
pub const TILE_WORDS: usize = 512;

/// The type of the registers that the codes of a word are decoded to. It decides the order of the codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FragmentOrder {
    /// Four int8 per register, for int8 tensor cores.
    Int8,
    /// Two half-precision floats per register, for bf16 and f16 tensor cores.
    Half,
}

impl FragmentOrder {
    /// Most contracted columns for which an i32 accumulator cannot overflow: decoded int8 codes are
    /// 64·t (ternary, |t| ≤ 1) or 32·v (four levels, |v| ≤ 3), and activations are at most 128.
    pub const fn max_cols(self, code: WeightCode) -> usize {
        match (self, code) {
            (Self::Half, _) => 1 << 23,
            (Self::Int8, WeightCode::Ternary) => (i32::MAX / (128 * 64)) as usize,
            (Self::Int8, _) => (i32::MAX / (128 * 96)) as usize,
        }
    }

    /// The factor from a decoded code to the code table's integer.
    pub const fn decoded_unit(self, code: WeightCode) -> f32 {
        match (self, code) {
            (Self::Int8, WeightCode::Ternary) => 1.0 / 64.0,
            (Self::Int8, _) => 1.0 / 32.0,
            (Self::Half, WeightCode::Ternary) => 0.5,
            (Self::Half, _) => 2.0,
        }
    }

    /// Bits by which the epilogue shifts an int8 sum right: log₂ of the factor of decoded codes.
    pub const fn shift(self, code: WeightCode) -> u32 {
        match code {
            WeightCode::Ternary => 6,
            _ => 5,
        }
    }
}

/// The order in which the kernels of a device read the codes of a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WeightOrder {
    /// The order in which they are stored, which the portable kernels read.
    Canonical,
    /// Fragment order, which the tensor-core kernels read.
    Fragments(FragmentOrder),
}

impl WeightOrder {
    /// The order in which `device` multiplies weights of `layout` fastest. `fragments` is the fragment
    /// order for the type of the activations.
    ///
    /// Fragment order on NVIDIA GPUs with tensor cores for it (compute capability 8.0 and up; for int8
    /// also 7.2 and 7.5), unless scales are per group or rows too long for the accumulators. Canonical
    /// everywhere else.
    pub fn on(device: &DeviceFacts, layout: &PackedLayout, fragments: FragmentOrder) -> Self {
        let cores = device.cuda.is_some_and(|cuda| match fragments {
            FragmentOrder::Int8 => true,
            FragmentOrder::Half => cuda.is_ampere(),
        });
        if cores && PrepackedWeights::fragments(layout, fragments).is_some() {
            Self::Fragments(fragments)
        } else {
            Self::Canonical
        }
    }
}

/// The position of every code in fragment order.
///
/// Fragment tiles of 64 rows × 128 columns follow each other, row tiles outermost. Four warps of 32
/// lanes read a tile: each warp a strip of 16 rows, each lane four words of 32 columns each. A word
/// decodes into the A operand of one `mma.m16n8k32` (int8), or of two `mma.m16n8k16` (half), with one
/// shift and one mask per register (PTX ISA, "Matrix fragments for mma.m16n8k32"; the A fragment of
/// wgmma is the same per warp).
///
/// Rows `2g` and `2g + 1` of a strip are the fragment's rows `g` and `g + 8`, so that a lane's
/// accumulators belong to neighbouring outputs. Codes are two's complement: `w` for ternary,
/// `(v - 1) / 2` for the four levels `v` of int2. Codes outside of the matrix are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FragmentLayout {
    /// The type that words are decoded to.
    pub order: FragmentOrder,
    /// Rows of the matrix.
    pub rows: usize,
    /// Columns of the matrix, the contracted dimension.
    pub cols: usize,
}

impl FragmentLayout {
    /// Tiles of 64 rows.
    pub const fn row_tiles(&self) -> usize {
        self.rows.div_ceil(TILE_ROWS)
    }

    /// Tiles of 128 columns.
    pub const fn col_tiles(&self) -> usize {
        self.cols.div_ceil(TILE_COLS)
    }

    /// u32 words of the whole matrix.
    pub const fn word_count(&self) -> usize {
        self.row_tiles() * self.col_tiles() * TILE_WORDS
    }

    /// Word and lowest bit of the code of `(row, col)`.
    pub const fn position(&self, row: usize, col: usize) -> (usize, u32) {
        let tile = (row / TILE_ROWS) * self.col_tiles() + col / TILE_COLS;
        let warp = (row % TILE_ROWS) / 16;
        let (g, half) = ((row % 16) / 2, row % 2);
        let slice = (col % TILE_COLS) / 32;
        let c = col % 32;
        let (q, bit) = match self.order {
            FragmentOrder::Int8 => {
                let register = half + 2 * (c / 16);
                ((c % 16) / 4, 8 * (c % 4) + 6 - 2 * register)
            }
            FragmentOrder::Half => {
                let register = 4 * (c / 16) + half + 2 * ((c % 16) / 8);
                ((c % 8) / 2, 16 * (c % 2) + 14 - 2 * register)
            }
        };
        let lane = 4 * g + q;
        let word = tile * TILE_WORDS + warp * 128 + lane * 4 + slice;
        (word, bit as u32)
    }
}

/// Packed weights in fragment order, with one scale per output row.
///
/// [`launch`](super::launch()) computes them on the device from [`PackedWeights`](crate::PackedWeights);
/// they are never saved.
#[derive(Clone, Debug)]
pub struct PrepackedWeights {
    layout: PackedLayout,
    fragments: FragmentLayout,
    words: Buffer,
    row_scales: Buffer,
}

impl PrepackedWeights {
    /// The fragment layout of weights of `layout`. `None` if only the portable kernels can multiply
    /// them: for scales per group, and for more columns than the accumulators hold.
    pub fn fragments(layout: &PackedLayout, order: FragmentOrder) -> Option<FragmentLayout> {
        let grouped = matches!(layout.scale(), ScaleGranularity::Group { .. });
        if grouped || layout.in_features() > order.max_cols(layout.code()) {
            return None;
        }
        Some(FragmentLayout {
            order,
            rows: layout.out_features(),
            cols: layout.in_features(),
        })
    }

    /// Weights of `layout` in `words` (u32, `fragments.word_count()`), with `row_scales` (f32,
    /// `layout.out_features()`): the scale of the row times [`FragmentOrder::decoded_unit`] and the code
    /// table's unit.
    ///
    /// # Errors
    /// [`KernelError`] if `layout` cannot be prepacked, a buffer has another length or is too
    /// small.
    pub fn new(
        layout: PackedLayout,
        order: FragmentOrder,
        words: Buffer,
        row_scales: Buffer,
    ) -> Result<Self, KernelError> {
        let fragments =
            Self::fragments(&layout, order).ok_or_else(|| KernelError::NotPrepackable {
                layout: Box::new(layout.clone()),
            })?;
        words.check_lines("prepacked words", fragments.word_count())?;
        row_scales.check_exact("row scales", layout.out_features())?;
        Ok(Self {
            layout,
            fragments,
            words,
            row_scales,
        })
    }

    /// Shape, codes and scale granularity of the weights.
    pub fn layout(&self) -> &PackedLayout {
        &self.layout
    }

    /// Order of the words.
    pub fn fragment_layout(&self) -> &FragmentLayout {
        &self.fragments
    }

    /// The words.
    pub fn words(&self) -> &Buffer {
        &self.words
    }

    /// One scale per output row, units included.
    pub fn row_scales(&self) -> &Buffer {
        &self.row_scales
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::device::test_gpus::{AMPERE, AMPERE_AND_LATER, TURING, XAVIER};

    #[test]
    fn every_code_has_a_place_of_its_own() {
        for order in [FragmentOrder::Int8, FragmentOrder::Half] {
            let layout = FragmentLayout {
                order,
                rows: 2 * TILE_ROWS,
                cols: 2 * TILE_COLS,
            };
            let places: HashSet<(usize, u32)> = (0..layout.rows)
                .flat_map(|row| (0..layout.cols).map(move |col| (row, col)))
                .map(|(row, col)| layout.position(row, col))
                .collect();
            assert_eq!(places.len(), layout.rows * layout.cols);
            assert_eq!(places.len(), layout.word_count() * 16);
            assert!(
                places
                    .iter()
                    .all(|&(word, bit)| word < layout.word_count() && bit <= 30)
            );
        }
    }

    #[test]
    fn a_lane_reads_the_fragment_that_the_instruction_set_states() {
        // mma.m16n8k32: register r of lane (g, q) holds row g + 8·(r mod 2), columns
        // 4q..4q + 4 plus 16·(r div 2).
        let layout = FragmentLayout {
            order: FragmentOrder::Int8,
            rows: 64,
            cols: 128,
        };
        let (g, q, r, byte) = (3, 2, 3, 1);
        let (row, col) = (2 * g + 1, 96 + 16 + 4 * q + byte);
        assert_eq!(layout.position(32 + row, col).0, 256 + (4 * g + q) * 4 + 3);
        assert_eq!(
            layout.position(32 + row, col).1 as usize,
            8 * byte + 6 - 2 * r
        );
    }

    #[test]
    fn a_device_reads_fragments_where_it_has_the_tensor_cores() {
        use FragmentOrder::{Half, Int8};
        use tritburn_formats::ScaleGranularity::{Group, Row};

        let layout = |cols, scale| {
            PackedLayout::new(64, cols, WeightCode::Ternary, scale).expect("a valid layout")
        };
        let rows = layout(256, Row);
        for gpu in AMPERE_AND_LATER {
            for order in [Int8, Half] {
                assert_eq!(
                    WeightOrder::on(&gpu, &rows, order),
                    WeightOrder::Fragments(order)
                );
            }
            let groups = layout(256, Group { size: 64 });
            assert_eq!(WeightOrder::on(&gpu, &groups, Int8), WeightOrder::Canonical);
            let long = layout(Int8.max_cols(WeightCode::Ternary) + 1, Row);
            assert_eq!(WeightOrder::on(&gpu, &long, Int8), WeightOrder::Canonical);
        }
        for gpu in [XAVIER, TURING] {
            assert_eq!(
                WeightOrder::on(&gpu, &rows, Int8),
                WeightOrder::Fragments(Int8)
            );
            assert_eq!(WeightOrder::on(&gpu, &rows, Half), WeightOrder::Canonical);
        }
        let other = DeviceFacts {
            cuda: None,
            ..AMPERE
        };
        assert_eq!(WeightOrder::on(&other, &rows, Int8), WeightOrder::Canonical);
    }

    #[test]
    fn sums_of_decoded_codes_fit_an_i32() {
        for (code, largest) in [(WeightCode::Ternary, 64i64), (WeightCode::Int2, 96)] {
            let cols = FragmentOrder::Int8.max_cols(code) as i64;
            assert!(cols * 128 * largest <= i32::MAX as i64);
            assert!((cols + 1) * 128 * largest > i32::MAX as i64);
        }
    }
}
