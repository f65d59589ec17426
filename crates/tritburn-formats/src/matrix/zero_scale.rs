//! Weights that are zero because their scale is.

use super::PackedMatrix;
use crate::code::WeightCode;
use crate::error::MatrixError;
use crate::layout::WEIGHTS_PER_WORD;
use crate::scale::ScaleGranularity;

/// A word of zero weights, and of padding.
const ZEROS: u32 = 0x5555_5555;

/// What a scale of zero becomes: any positive number would do, as only zeros use it.
const UNUSED: f32 = 1.0;

impl PackedMatrix {
    /// The same real weights without scales of zero (+0.0 and -0.0): all weights of such a scale
    /// get the zero code, and the scale becomes 1. Everything else stays, so a matrix whose scales
    /// are all other than zero comes back as it is. Negative scales and scales that are not finite
    /// are not looked at.
    ///
    /// Quantisers of other projects store the scale 0 for weights that are all zero (GGUF's TQ1_0,
    /// TQ2_0 and I2_S), whatever the codes are; products want positive scales.
    ///
    /// # Errors
    /// [`MatrixError::ZeroScale`] with the first scale of zero of a matrix in
    /// [`WeightCode::Int2`], which has no code for a zero weight.
    ///
    /// # Examples
    ///
    /// ```
    /// use tritburn_formats::{PackedLayout, PackedMatrix, ScaleGranularity, WeightCode};
    ///
    /// // One row of -1 and one of +1, the second with the scale 0.
    /// let layout = PackedLayout::new(2, 16, WeightCode::Ternary, ScaleGranularity::Row)?;
    /// let matrix = PackedMatrix::new(layout, vec![0, 0xaaaa_aaaa], vec![0.5, 0.0])?;
    /// let usable = matrix.without_zero_scales()?;
    /// assert_eq!(usable.scales(), [0.5, 1.0]);
    /// assert_eq!(usable.words(), [0, 0x5555_5555]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn without_zero_scales(mut self) -> Result<Self, MatrixError> {
        let Some(index) = self.scales.iter().position(|&scale| scale == 0.0) else {
            return Ok(self);
        };
        if self.layout.code() != WeightCode::Ternary {
            let code = self.layout.code();
            return Err(MatrixError::ZeroScale { index, code });
        }
        for index in index..self.scales.len() {
            if self.scales[index] == 0.0 {
                let words = self.words_of_scale(index);
                self.words[words].fill(ZEROS);
                self.scales[index] = UNUSED;
            }
        }
        Ok(self)
    }

    /// The words whose weights use scale `index`: no word is shared, groups are whole words.
    fn words_of_scale(&self, index: usize) -> std::ops::Range<usize> {
        let layout = &self.layout;
        let per_row = layout.words_per_row();
        let rows = |first: usize, count: usize| first * per_row..(first + count) * per_row;
        match layout.scale() {
            ScaleGranularity::Tensor => 0..self.words.len(),
            ScaleGranularity::Row => rows(index, 1),
            ScaleGranularity::Segments { rows: segments } => {
                let first = segments[..index].iter().sum();
                rows(first, segments[index])
            }
            ScaleGranularity::Group { .. } => {
                let groups = layout.scale().groups_per_row(layout.in_features());
                let per_group = layout.scale_span().div_ceil(WEIGHTS_PER_WORD);
                let row = rows(index / groups, 1);
                let start = row.start + index % groups * per_group;
                start..(start + per_group).min(row.end)
            }
        }
    }
}
