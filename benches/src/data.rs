//! Random operands on the host.

use anyhow::Result;
use half::bf16;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tritburn_formats::{
    PackedLayout, PackedMatrix, QuantizedActivations, ScaleGranularity, WeightCode,
};

/// Rows of activations that differ; longer inputs repeat them. Quantising millions of rows on the
/// host would take longer than measuring them.
pub const DISTINCT_ROWS: usize = 32;

/// Activations `[rows, cols]`, rows repeating after [`DISTINCT_ROWS`].
pub struct Activations {
    rows: usize,
    cols: usize,
    distinct: Vec<f32>,
    quantized: QuantizedActivations,
}

impl Activations {
    /// Roughly normal numbers, rounded to bf16 so that every float type holds them.
    ///
    /// # Errors
    /// If `cols` is 0.
    pub fn random(seed: u64, rows: usize, cols: usize) -> Result<Self> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut uniform = || rng.random_range(-1.0f32..1.0);
        let distinct: Vec<f32> = (0..rows.min(DISTINCT_ROWS) * cols)
            .map(|_| bf16::from_f32(uniform() + uniform() + uniform()).to_f32())
            .collect();
        let quantized = QuantizedActivations::quantize(&distinct, cols)?;
        Ok(Self {
            rows,
            cols,
            distinct,
            quantized,
        })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// One row.
    pub fn row(&self, row: usize) -> &[f32] {
        let row = row % DISTINCT_ROWS;
        &self.distinct[row * self.cols..][..self.cols]
    }

    /// One row as int8, with its scale.
    pub fn quantized_row(&self, row: usize) -> (&[i8], f32) {
        let (row, stride) = (row % DISTINCT_ROWS, self.quantized.bytes().len());
        let stride = stride / self.quantized.rows();
        let bytes = &self.quantized.bytes()[row * stride..][..stride];
        (bytes, self.quantized.scales()[row])
    }

    /// All rows, one after the other.
    pub fn floats(&self) -> Vec<f32> {
        repeat(&self.distinct, self.cols, self.rows)
    }

    /// All rows as activation words.
    pub fn words(&self) -> Vec<u32> {
        let stride = self.quantized.words().len() / self.quantized.rows();
        repeat(self.quantized.words(), stride, self.rows)
    }

    /// The scales of all rows.
    pub fn scales(&self) -> Vec<f32> {
        repeat(self.quantized.scales(), 1, self.rows)
    }
}

fn repeat<T: Copy>(distinct: &[T], stride: usize, rows: usize) -> Vec<T> {
    distinct
        .iter()
        .copied()
        .cycle()
        .take(rows * stride)
        .collect()
}

/// Packed weights `[n, k]` of random codes with one scale.
///
/// # Errors
/// If no layout has these sizes.
pub fn weights(seed: u64, n: usize, k: usize, code: WeightCode) -> Result<PackedMatrix> {
    let layout = PackedLayout::new(n, k, code, ScaleGranularity::Tensor)?;
    let mut rng = StdRng::seed_from_u64(seed);
    let words = (0..layout.word_count())
        .map(|_| valid(rng.random(), code))
        .collect();
    Ok(PackedMatrix::new(layout, words, vec![0.0625])?)
}

/// `word` with every invalid ternary code 3 made a 1.
fn valid(word: u32, code: WeightCode) -> u32 {
    match code {
        WeightCode::Ternary => word & !((word & (word >> 1) & 0x5555_5555) << 1),
        _ => word,
    }
}

/// The matrix of some rows of `matrix`, which has one scale.
///
/// # Errors
/// If `rows` is empty.
pub fn some_rows(matrix: &PackedMatrix, rows: &[usize]) -> Result<PackedMatrix> {
    let layout = matrix.layout();
    let stride = layout.words_per_row();
    let words = rows
        .iter()
        .flat_map(|row| &matrix.words()[row * stride..][..stride])
        .copied()
        .collect();
    let scale = ScaleGranularity::Tensor;
    let layout = PackedLayout::new(rows.len(), layout.in_features(), layout.code(), scale)?;
    Ok(PackedMatrix::new(layout, words, matrix.scales().to_vec())?)
}

/// Up to `count` indices below `len`, spread evenly, the first and the last among them.
pub fn spread(len: usize, count: usize) -> Vec<usize> {
    let mut indices: Vec<usize> = match count.min(len) {
        0 => Vec::new(),
        1 => vec![0],
        count => (0..count).map(|i| i * (len - 1) / (count - 1)).collect(),
    };
    indices.dedup();
    indices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_ternary_word_holds_code_3() {
        for word in [u32::MAX, 0, 0xDEAD_BEEF, 0x1234_5678] {
            let valid = valid(word, WeightCode::Ternary);
            for i in 0..16 {
                let (code, was) = (valid >> (2 * i) & 3, word >> (2 * i) & 3);
                assert_eq!(code, if was == 3 { 1 } else { was });
            }
        }
    }

    #[test]
    fn indices_reach_both_ends() {
        assert_eq!(spread(10, 4), [0, 3, 6, 9]);
        assert_eq!(spread(3, 8), [0, 1, 2]);
        assert_eq!(spread(1, 8), [0]);
    }

    #[test]
    fn some_rows_are_those_rows() {
        let matrix = weights(1, 7, 33, WeightCode::Ternary).unwrap();
        let part = some_rows(&matrix, &[6, 2]).unwrap();
        for col in 0..33 {
            assert_eq!(part.value(0, col), matrix.value(6, col));
            assert_eq!(part.value(1, col), matrix.value(2, col));
        }
    }

    #[test]
    fn rows_repeat() {
        let tokens = Activations::random(1, DISTINCT_ROWS + 3, 20).unwrap();
        let floats = tokens.floats();
        assert_eq!(floats.len(), (DISTINCT_ROWS + 3) * 20);
        assert_eq!(floats[DISTINCT_ROWS * 20..][..20], floats[..20]);
        assert_eq!(tokens.row(DISTINCT_ROWS + 1), tokens.row(1));
        assert_eq!(tokens.words().len(), tokens.rows() * 8);
    }
}
