//! The typed header of affine weights, as u32 words and as JSON, as
//! [`PackedHeader`](crate::PackedHeader) is that of 2-bit weights.
//!
//! Words: magic `"TRIT"`, version, out, in, bits of a code (2, 3 or 4, which is no code of a
//! [`PackedHeader`](crate::PackedHeader)), group size (0 for one group a row), zeros (0, 1), type of
//! floats (0 f32, 1 f16, 2 bf16), sparsity (0 dense, 1 of 16:32), order (0, 1).

use serde::{Deserialize, Serialize};

use super::bits::Bits;
use super::float::FloatType;
use super::layout::AffineLayout;
use crate::error::HeaderError;
use crate::header::{
    CODE_WORD, FORMAT_NAME, MAGIC, PackedHeader, RawHeader, VERSION, check_version,
};

/// An [`AffineLayout`] with the name and version of its storage format.
///
/// # Examples
///
/// ```
/// use tritburn_formats::affine::{AffineHeader, AffineLayout, Bits};
///
/// let layout = AffineLayout::new([64, 128], Bits::Four, Some(32))?.with_zeros();
/// let words = AffineHeader::new(layout.clone()).to_words(); // stored beside the codes
/// assert_eq!(AffineHeader::from_words(&words)?.layout(), &layout);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawHeader<AffineLayout>")]
pub struct AffineHeader {
    format: String,
    version: u32,
    #[serde(flatten)]
    layout: AffineLayout,
}

impl AffineHeader {
    /// u32 words of a header.
    pub const WORDS: usize = 10;

    /// The header of a matrix in the current format version.
    pub fn new(layout: AffineLayout) -> Self {
        Self {
            format: FORMAT_NAME.to_string(),
            version: VERSION,
            layout,
        }
    }

    /// The described layout.
    pub fn layout(&self) -> &AffineLayout {
        &self.layout
    }

    /// The header as u32 words.
    pub fn to_words(&self) -> Vec<u32> {
        let layout = &self.layout;
        let floats = match layout.floats() {
            FloatType::F32 => 0,
            FloatType::F16 => 1,
            FloatType::Bf16 => 2,
        };
        vec![
            MAGIC,
            self.version,
            layout.out_features() as u32,
            layout.in_features() as u32,
            layout.bits().count() as u32,
            layout.group_size().unwrap_or(0) as u32,
            u32::from(layout.has_zeros()),
            floats,
            u32::from(layout.is_sparse()),
            u32::from(layout.is_permuted()),
        ]
    }

    /// Reads a header from its words.
    ///
    /// # Errors
    /// [`HeaderError`] for anything but a complete, valid header of a supported version.
    pub fn from_words(words: &[u32]) -> Result<Self, HeaderError> {
        let words: &[u32; Self::WORDS] = words.try_into().map_err(|_| HeaderError::Length {
            found: words.len(),
            expected: Self::WORDS,
        })?;
        let &[
            magic,
            version,
            out,
            k,
            code,
            group,
            zeros,
            floats,
            sparse,
            order,
        ] = words;
        check_version(magic, version)?;
        let unknown = |field, value| HeaderError::Field { field, value };
        let flag = |field, value| match value {
            0 | 1 => Ok(value == 1),
            _ => Err(unknown(field, value)),
        };
        let bits = Bits::from_count(code as usize).ok_or(unknown("code", code))?;
        let floats = match floats {
            0 => FloatType::F32,
            1 => FloatType::F16,
            2 => FloatType::Bf16,
            _ => return Err(unknown("floats", floats)),
        };
        let group = (group > 0).then_some(group as usize);
        let mut layout =
            AffineLayout::new([out as usize, k as usize], bits, group)?.with_floats(floats);
        if flag("zeros", zeros)? {
            layout = layout.with_zeros();
        }
        if flag("sparsity", sparse)? {
            layout = layout.sparse()?;
        }
        if flag("order", order)? {
            layout = layout.with_order();
        }
        Ok(Self::new(layout))
    }
}

impl TryFrom<RawHeader<AffineLayout>> for AffineHeader {
    type Error = HeaderError;

    fn try_from(raw: RawHeader<AffineLayout>) -> Result<Self, HeaderError> {
        raw.into_layout().map(Self::new)
    }
}

/// The header of stored weights of either kind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WeightHeader {
    /// 2-bit weights of a fixed code table.
    Packed(PackedHeader),
    /// Codes of 2, 3 or 4 bits with a scale and a zero point per group.
    Affine(AffineHeader),
}

impl WeightHeader {
    /// Reads a header of either kind, which its code tells.
    ///
    /// # Errors
    /// [`HeaderError`] for anything but a complete, valid header of a supported version.
    pub fn from_words(words: &[u32]) -> Result<Self, HeaderError> {
        let affine = words
            .get(CODE_WORD)
            .is_some_and(|&code| Bits::from_count(code as usize).is_some());
        match affine {
            true => AffineHeader::from_words(words).map(Self::Affine),
            false => PackedHeader::from_words(words).map(Self::Packed),
        }
    }
}
