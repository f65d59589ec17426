//! A choice of bits, groups and method, for weights of any shape.

use super::half_quadratic::{HalfQuadratic, half_quadratic};
use super::range::round_in_range;
use super::round::round_to_nearest;
use crate::affine::{AffineLayout, AffineMatrix, Bits, FloatType};
use crate::error::{LayoutError, MatrixError};

/// How a quantiser finds scales and zero points.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum AffineMethod {
    /// [`round_to_nearest`] with integer zero points.
    #[default]
    Round,
    /// [`round_to_nearest`] without zero points.
    RoundSymmetric,
    /// [`round_in_range`] with integer zero points: what a training does in every step.
    Range,
    /// [`half_quadratic`]: real zero points.
    HalfQuadratic(HalfQuadratic),
}

/// What float weights are quantised to, whatever their shape.
///
/// # Examples
///
/// ```
/// use tritburn_formats::affine::Bits;
/// use tritburn_formats::quantize::affine::{AffineMethod, AffineQuantizer};
///
/// let int3 = AffineQuantizer::new(Bits::Three, Some(32)).with_method(AffineMethod::RoundSymmetric);
/// let weights: Vec<f32> = (0..64).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
/// let matrix = int3.quantize(&weights, [1, 64])?;
/// assert_eq!(matrix.layout(), &int3.layout([1, 64])?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AffineQuantizer {
    bits: Bits,
    group_size: Option<usize>,
    floats: FloatType,
    method: AffineMethod,
    sparse: bool,
}

impl AffineQuantizer {
    /// Codes of `bits`, and f16 scales and zero points for every `group_size` inputs, a multiple of 16,
    /// or for every row.
    pub fn new(bits: Bits, group_size: Option<usize>) -> Self {
        Self {
            bits,
            group_size,
            floats: FloatType::default(),
            method: AffineMethod::default(),
            sparse: false,
        }
    }

    /// The quantiser with another method.
    pub fn with_method(self, method: AffineMethod) -> Self {
        Self { method, ..self }
    }

    /// The quantiser with scales and zero points of another type.
    pub fn with_floats(self, floats: FloatType) -> Self {
        Self { floats, ..self }
    }

    /// The quantiser that keeps the 16 largest weights of every 32 inputs and drops the others. Only codes of
    /// 4 bits are stored so: a layout of others is refused.
    pub fn with_sparsity(self) -> Self {
        Self {
            sparse: true,
            ..self
        }
    }

    /// The layout of quantised weights `[out, in]`.
    ///
    /// # Errors
    /// As [`AffineLayout::new`], and as [`AffineLayout::sparse`] where weights are dropped.
    pub fn layout(&self, shape: [usize; 2]) -> Result<AffineLayout, LayoutError> {
        let layout = AffineLayout::new(shape, self.bits, self.group_size)?.with_floats(self.floats);
        let layout = match self.sparse {
            true => layout.sparse()?,
            false => layout,
        };
        Ok(match self.method {
            AffineMethod::RoundSymmetric => layout,
            AffineMethod::Round | AffineMethod::Range | AffineMethod::HalfQuadratic(_) => {
                layout.with_zeros()
            }
        })
    }

    /// Quantises row-major weights of `shape` `[out, in]`.
    ///
    /// # Errors
    /// [`MatrixError::Layout`], and those of the method.
    pub fn quantize(
        &self,
        weights: &[f32],
        shape: [usize; 2],
    ) -> Result<AffineMatrix, MatrixError> {
        let layout = self.layout(shape)?;
        match self.method {
            AffineMethod::Round | AffineMethod::RoundSymmetric => {
                round_to_nearest(weights, &layout)
            }
            AffineMethod::Range => round_in_range(weights, &layout),
            AffineMethod::HalfQuadratic(settings) => half_quadratic(weights, &layout, &settings),
        }
    }
}
