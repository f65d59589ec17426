//! The shape of an affine matrix and what it stores.

use serde::{Deserialize, Serialize};

use super::bits::{Bits, UNIT};
use super::float::FloatType;
use crate::error::LayoutError;
use crate::layout::{WEIGHTS_PER_WORD, check_sizes};

/// Which inputs of a row are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Sparsity {
    /// All.
    #[default]
    Dense,
    /// 16 of every 32, as a mask says.
    Half32,
}

/// Shape, bits, groups and stored parts of an `[out, in]` affine matrix. Always valid.
///
/// # Examples
///
/// ```
/// use tritburn_formats::affine::{AffineLayout, Bits, FloatType};
///
/// let layout = AffineLayout::new([8, 100], Bits::Three, Some(48))?
///     .with_zeros()
///     .with_floats(FloatType::Bf16);
/// assert_eq!(layout.words_per_row(), 3 * 4); // four units of 32 inputs
/// assert_eq!(layout.groups_per_row(), 3); // 48, 48 and 4 inputs
/// # Ok::<(), tritburn_formats::LayoutError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawLayout")]
pub struct AffineLayout {
    out_features: usize,
    in_features: usize,
    code: Bits,
    group_size: Option<usize>,
    zeros: bool,
    floats: FloatType,
    sparsity: Sparsity,
    permuted: bool,
}

impl AffineLayout {
    /// A dense layout with f16 scales and no stored zero points, columns in the order of the
    /// inputs. `group_size` inputs share a scale, or all of a row where it is `None`.
    ///
    /// # Errors
    /// [`LayoutError::Empty`], [`LayoutError::InFeatures`] over
    /// [`Bits::max_in_features`], [`LayoutError::TooLarge`] over `u32::MAX` words,
    /// [`LayoutError::GroupSize`] unless a positive multiple of 16 below 2^32.
    pub fn new(
        [out_features, in_features]: [usize; 2],
        code: Bits,
        group_size: Option<usize>,
    ) -> Result<Self, LayoutError> {
        check_sizes(out_features, in_features, code.max_in_features())?;
        let fits = |size: usize| {
            size > 0 && size.is_multiple_of(WEIGHTS_PER_WORD) && u32::try_from(size).is_ok()
        };
        if let Some(size) = group_size.filter(|&size| !fits(size)) {
            return Err(LayoutError::GroupSize { size });
        }
        let words = out_features.checked_mul(in_features.div_ceil(UNIT) * code.count());
        if words.is_none_or(|words| u32::try_from(words).is_err()) {
            return Err(LayoutError::TooLarge {
                out_features,
                in_features,
            });
        }
        Ok(Self {
            out_features,
            in_features,
            code,
            group_size,
            zeros: false,
            floats: FloatType::default(),
            sparsity: Sparsity::Dense,
            permuted: false,
        })
    }

    /// The layout with a stored zero point beside every scale.
    pub fn with_zeros(self) -> Self {
        Self {
            zeros: true,
            ..self
        }
    }

    /// The layout with another number of rows.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(super) fn with_rows(&self, out_features: usize) -> Result<Self, LayoutError> {
        let shape = [out_features, self.in_features];
        let Self { out_features, .. } = Self::new(shape, self.code, self.group_size)?;
        Ok(Self {
            out_features,
            ..self.clone()
        })
    }

    /// The layout with scales and zero points of a type.
    pub fn with_floats(self, floats: FloatType) -> Self {
        Self { floats, ..self }
    }

    /// The layout with an order of its columns.
    pub fn with_order(self) -> Self {
        Self {
            permuted: true,
            ..self
        }
    }

    /// The layout that keeps 16 of every 32 inputs.
    ///
    /// # Errors
    /// [`LayoutError::Sparse`] unless codes have 4 bits, and units of 32 inputs fill rows and
    /// groups.
    pub fn sparse(self) -> Result<Self, LayoutError> {
        let whole = |size: usize| size.is_multiple_of(UNIT);
        let fits = whole(self.in_features) && self.group_size.is_none_or(whole);
        if self.code != Bits::Four || !fits {
            return Err(LayoutError::Sparse {
                bits: self.code.count(),
                in_features: self.in_features,
                group_size: self.group_size,
            });
        }
        Ok(Self {
            sparsity: Sparsity::Half32,
            ..self
        })
    }

    /// Rows of the matrix.
    pub fn out_features(&self) -> usize {
        self.out_features
    }

    /// Columns of the matrix.
    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// Bits of a code.
    pub fn bits(&self) -> Bits {
        self.code
    }

    /// Inputs per group as it was given; `None` for one group a row.
    pub fn group_size(&self) -> Option<usize> {
        self.group_size
    }

    /// Inputs that share a scale: the group size, or `in_features` where that is less.
    pub fn span(&self) -> usize {
        self.group_size.unwrap_or(usize::MAX).min(self.in_features)
    }

    /// Groups of a row.
    pub fn groups_per_row(&self) -> usize {
        self.in_features.div_ceil(self.span())
    }

    /// Scales of the matrix, and zero points if there are any.
    pub fn group_count(&self) -> usize {
        self.out_features * self.groups_per_row()
    }

    /// Whether zero points are stored.
    pub fn has_zeros(&self) -> bool {
        self.zeros
    }

    /// Type of scales and zero points.
    pub fn floats(&self) -> FloatType {
        self.floats
    }

    /// Which inputs are stored.
    pub fn sparsity(&self) -> Sparsity {
        self.sparsity
    }

    /// Whether 16 of every 32 inputs are kept.
    pub fn is_sparse(&self) -> bool {
        self.sparsity == Sparsity::Half32
    }

    /// Whether columns have an order of their own.
    pub fn is_permuted(&self) -> bool {
        self.permuted
    }

    /// Units of 32 inputs in a row, the last one perhaps in part.
    pub fn units_per_row(&self) -> usize {
        self.in_features.div_ceil(UNIT)
    }

    /// u32 words of the codes of a unit: the bits of a code, or 2 of sparse ones.
    pub fn words_per_unit(&self) -> usize {
        match self.sparsity {
            Sparsity::Dense => self.code.count(),
            Sparsity::Half32 => self.code.count() / 2,
        }
    }

    /// u32 words of the codes of a row.
    pub fn words_per_row(&self) -> usize {
        self.units_per_row() * self.words_per_unit()
    }

    /// u32 words of all codes.
    pub fn word_count(&self) -> usize {
        self.out_features * self.words_per_row()
    }

    /// Mask words: one a unit of a sparse matrix, none of a dense one.
    pub fn mask_count(&self) -> usize {
        match self.sparsity {
            Sparsity::Dense => 0,
            Sparsity::Half32 => self.out_features * self.units_per_row(),
        }
    }

    /// Weights of the matrix, dropped ones included: `out · in`.
    pub fn weight_count(&self) -> usize {
        self.out_features * self.in_features
    }

    /// Bytes of all parts together.
    pub fn byte_count(&self) -> usize {
        let floats = self.group_count() * (1 + usize::from(self.zeros));
        let order = usize::from(self.permuted) * self.in_features;
        4 * (self.word_count() + self.mask_count() + order) + self.floats.size() * floats
    }
}

#[derive(Deserialize)]
struct RawLayout {
    out_features: usize,
    in_features: usize,
    code: Bits,
    group_size: Option<usize>,
    zeros: bool,
    floats: FloatType,
    sparsity: Sparsity,
    permuted: bool,
}

impl TryFrom<RawLayout> for AffineLayout {
    type Error = LayoutError;

    fn try_from(raw: RawLayout) -> Result<Self, LayoutError> {
        let shape = [raw.out_features, raw.in_features];
        let layout = Self::new(shape, raw.code, raw.group_size)?.with_floats(raw.floats);
        let layout = match raw.sparsity {
            Sparsity::Dense => layout,
            Sparsity::Half32 => layout.sparse()?,
        };
        Ok(Self {
            zeros: raw.zeros,
            permuted: raw.permuted,
            ..layout
        })
    }
}
