//! How many f32 scales a matrix carries, and which weight uses which.

use serde::{Deserialize, Serialize};

use crate::error::LayoutError;
use crate::layout::WEIGHTS_PER_WORD;

/// Largest number of row segments: GPU kernels take each one as a scalar.
pub const MAX_SEGMENTS: usize = 64;

/// Which part of a `[out, in]` weight matrix shares one f32 scale γ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum ScaleGranularity {
    /// One scale for the whole matrix.
    #[default]
    Tensor,
    /// One scale per output row.
    Row,
    /// One scale per `size` consecutive inputs of a row; the last group of a row may be shorter.
    /// `size` is a positive multiple of 16. Scales are row-major: `[out, ceil(in / size)]`.
    Group {
        /// Inputs per group.
        size: usize,
    },
    /// One scale per run of consecutive rows: fused projections (q|k|v, gate|up).
    Segments {
        /// Rows of each segment, all positive, adding up to `out`; at most [`MAX_SEGMENTS`].
        rows: Vec<usize>,
    },
}

impl ScaleGranularity {
    /// Checks the granularity against a matrix of `out_features` rows.
    ///
    /// # Errors
    /// [`LayoutError::GroupSize`], [`LayoutError::SegmentCount`] or [`LayoutError::Segments`].
    pub fn validate(&self, out_features: usize) -> Result<(), LayoutError> {
        match self {
            Self::Tensor | Self::Row => Ok(()),
            Self::Group { size } => {
                if *size == 0 || !size.is_multiple_of(WEIGHTS_PER_WORD) {
                    return Err(LayoutError::GroupSize { size: *size });
                }
                Ok(())
            }
            Self::Segments { rows } => {
                if rows.len() > MAX_SEGMENTS {
                    return Err(LayoutError::SegmentCount {
                        count: rows.len(),
                        max: MAX_SEGMENTS,
                    });
                }
                let total = rows.iter().try_fold(0usize, |sum, &r| sum.checked_add(r));
                if rows.is_empty() || rows.contains(&0) || total != Some(out_features) {
                    return Err(LayoutError::Segments {
                        rows: rows.clone(),
                        out_features,
                    });
                }
                Ok(())
            }
        }
    }

    /// Scales along the input axis of one row: 1 unless grouped.
    pub fn groups_per_row(&self, in_features: usize) -> usize {
        match self {
            Self::Group { size } => in_features.div_ceil(*size),
            _ => 1,
        }
    }

    /// Number of scales of an `[out_features, in_features]` matrix.
    pub fn count(&self, out_features: usize, in_features: usize) -> usize {
        match self {
            Self::Tensor => 1,
            Self::Row => out_features,
            Self::Group { .. } => out_features * self.groups_per_row(in_features),
            Self::Segments { rows } => rows.len(),
        }
    }

    /// Index of the scale of weight `[row, col]`.
    pub fn index(&self, row: usize, col: usize, in_features: usize) -> usize {
        match self {
            Self::Tensor => 0,
            Self::Row => row,
            Self::Group { size } => row * self.groups_per_row(in_features) + col / size,
            Self::Segments { rows } => {
                let mut end = 0;
                rows.iter()
                    .position(|&r| {
                        end += r;
                        row < end
                    })
                    .unwrap_or(rows.len() - 1)
            }
        }
    }

    /// One scale per row, whatever the granularity, for kernels that read scales by row.
    /// `None` for [`Group`](Self::Group), whose rows carry several.
    pub fn row_scales(&self, scales: &[f32], out_features: usize) -> Option<Vec<f32>> {
        match self {
            Self::Tensor => Some(vec![scales[0]; out_features]),
            Self::Row => Some(scales.to_vec()),
            Self::Group { .. } => None,
            Self::Segments { rows } => Some(
                rows.iter()
                    .zip(scales)
                    .flat_map(|(&r, &s)| std::iter::repeat_n(s, r))
                    .collect(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_SEGMENTS, ScaleGranularity};
    use crate::error::LayoutError;

    #[test]
    fn as_many_segments_as_a_kernel_carries_and_no_more() {
        let of = |count| ScaleGranularity::Segments {
            rows: vec![1; count],
        };
        assert_eq!(of(MAX_SEGMENTS).validate(MAX_SEGMENTS), Ok(()));
        let count = MAX_SEGMENTS + 1;
        let expected = LayoutError::SegmentCount {
            count,
            max: MAX_SEGMENTS,
        };
        assert_eq!(of(count).validate(count), Err(expected));
    }
}
