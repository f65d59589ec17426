//! The same matrix with more scales than it needs, so that it can be stacked with one that needs
//! them.

use super::PackedMatrix;
use crate::error::{LayoutError, MatrixError};
use crate::layout::PackedLayout;
use crate::scale::ScaleGranularity;

impl PackedMatrix {
    /// The same `[out, in]` matrix with scales at a finer granularity: codes stay, scales are
    /// copied, every real weight keeps its bits.
    ///
    /// | from | to |
    /// |---|---|
    /// | Tensor | anything |
    /// | Segments | Row, Group, or Segments that cut these into smaller ones |
    /// | Row | Group |
    /// | Group of `a` | Group of `b` where `b` divides `a` |
    ///
    /// A group of `in` inputs or more is a row, and a segment of all rows is the tensor, in both
    /// columns.
    ///
    /// # Errors
    /// [`MatrixError::Refine`] where the new scales would not be copies, [`MatrixError::Layout`]
    /// for a granularity that no matrix of this shape has.
    ///
    /// # Examples
    ///
    /// ```
    /// use tritburn_formats::quantize::pack_weights;
    /// use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};
    ///
    /// let layout = PackedLayout::new(2, 32, WeightCode::Ternary, ScaleGranularity::Row)?;
    /// let matrix = pack_weights(&[[0.5; 32], [2.0; 32]].concat(), &layout)?;
    /// let fine = matrix.refine(&ScaleGranularity::Group { size: 16 })?;
    /// assert_eq!(fine.scales(), [0.5, 0.5, 2.0, 2.0]);
    /// assert_eq!(fine.dequantize(), matrix.dequantize());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn refine(&self, scale: &ScaleGranularity) -> Result<Self, MatrixError> {
        let scales = self.refined_scales(scale)?;
        let layout = self.refined_layout(scale)?;
        Ok(Self::from_quantizer(layout, self.words.clone(), scales))
    }

    /// The scales of [`refine`](Self::refine) alone.
    pub(super) fn refined_scales(&self, scale: &ScaleGranularity) -> Result<Vec<f32>, MatrixError> {
        let fine = self.refined_layout(scale)?;
        self.scales_at(&fine).ok_or_else(|| MatrixError::Refine {
            found: self.layout.scale().clone(),
            wanted: scale.clone(),
        })
    }

    fn refined_layout(&self, scale: &ScaleGranularity) -> Result<PackedLayout, LayoutError> {
        let (out, k) = (self.layout.out_features(), self.layout.in_features());
        PackedLayout::new(out, k, self.layout.code(), scale.clone())
    }

    /// The scales of a layout of this shape, if each lies inside of one of this matrix.
    fn scales_at(&self, fine: &PackedLayout) -> Option<Vec<f32>> {
        let layout = &self.layout;
        if layout.scale() == fine.scale() {
            return Some(self.scales.clone());
        }
        let (out, k) = (layout.out_features(), layout.in_features());
        let (from, to) = (layout.scale_span(), fine.scale_span());
        // A row that has one scale may be cut anywhere.
        if from != k && !from.is_multiple_of(to) {
            return None;
        }
        let groups = k.div_ceil(to);
        let row_scales = |row: usize| {
            let first = layout.scale().index(row, 0, k);
            (0..groups).map(move |g| self.scales[first + g * to / from])
        };
        let mut row = 0;
        let Some(runs) = runs(fine) else {
            return Some((0..out).flat_map(row_scales).collect());
        };
        let mut scales = Vec::with_capacity(runs.len());
        for rows in runs {
            let (first, last) = (row, row + rows - 1);
            if !self.share_a_scale(first, last) {
                return None;
            }
            scales.extend(row_scales(first));
            row += rows;
        }
        Some(scales)
    }

    /// Whether the rows `first..=last` have the same scale, and not only equal ones.
    fn share_a_scale(&self, first: usize, last: usize) -> bool {
        let index = |row| self.layout.scale().index(row, 0, self.layout.in_features());
        first == last || index(first) == index(last)
    }
}

/// Rows of each scale of a layout that has one scale for several; `None` where no row shares one.
fn runs(layout: &PackedLayout) -> Option<Vec<usize>> {
    match layout.scale() {
        ScaleGranularity::Tensor => Some(vec![layout.out_features()]),
        ScaleGranularity::Segments { rows } => Some(rows.clone()),
        ScaleGranularity::Row | ScaleGranularity::Group { .. } => None,
    }
}
