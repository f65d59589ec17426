//! The typed header that travels with packed weights, as u32 words (an integer tensor beside the
//! codes) and as JSON (file metadata).
//!
//! Words: magic `"TRIT"`, version, out, in, code, scale kind, then the scale kind's own fields
//! (group size, or segment count and rows). Headers with a code of 2, 3 or 4 are
//! [`AffineHeader`](crate::affine::AffineHeader)s.

use serde::{Deserialize, Serialize};

use crate::code::WeightCode;
use crate::error::HeaderError;
use crate::layout::PackedLayout;
use crate::scale::ScaleGranularity;

pub(crate) const MAGIC: u32 = u32::from_le_bytes(*b"TRIT");
pub(crate) const VERSION: u32 = 1;
const FIXED_WORDS: usize = 6;

/// Where the code stands among the words of any header.
pub(crate) const CODE_WORD: usize = 4;

/// Name of the format that this header describes.
pub const FORMAT_NAME: &str = "tritburn-packed";

/// A [`PackedLayout`] with the name and version of its storage format.
///
/// # Examples
///
/// ```
/// use tritburn_formats::{PackedHeader, PackedLayout, ScaleGranularity, WeightCode};
///
/// let layout = PackedLayout::new(64, 128, WeightCode::Ternary, ScaleGranularity::Tensor)?;
/// let words = PackedHeader::new(layout.clone()).to_words(); // stored beside the codes
/// assert_eq!(PackedHeader::from_words(&words)?.layout(), &layout);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawHeader<PackedLayout>")]
pub struct PackedHeader {
    format: String,
    version: u32,
    #[serde(flatten)]
    layout: PackedLayout,
}

impl PackedHeader {
    /// The header of a matrix in the current format version.
    pub fn new(layout: PackedLayout) -> Self {
        Self {
            format: FORMAT_NAME.to_string(),
            version: VERSION,
            layout,
        }
    }

    /// The described layout.
    pub fn layout(&self) -> &PackedLayout {
        &self.layout
    }

    /// The header as u32 words.
    pub fn to_words(&self) -> Vec<u32> {
        let layout = &self.layout;
        let code = match layout.code() {
            WeightCode::Ternary => 0,
            WeightCode::Int2 => 1,
        };
        let mut words = vec![
            MAGIC,
            self.version,
            layout.out_features() as u32,
            layout.in_features() as u32,
            code,
        ];
        match layout.scale() {
            ScaleGranularity::Tensor => words.push(0),
            ScaleGranularity::Row => words.push(1),
            ScaleGranularity::Group { size } => words.extend([2, *size as u32]),
            ScaleGranularity::Segments { rows } => {
                words.extend([3, rows.len() as u32]);
                words.extend(rows.iter().map(|&r| r as u32));
            }
        }
        words
    }

    /// Reads a header from its words.
    ///
    /// # Errors
    /// [`HeaderError`] for anything but a complete, valid header of a supported version.
    pub fn from_words(words: &[u32]) -> Result<Self, HeaderError> {
        let expect = |expected: usize| match words.len() == expected {
            true => Ok(()),
            false => Err(HeaderError::Length {
                found: words.len(),
                expected,
            }),
        };
        if words.len() < FIXED_WORDS {
            expect(FIXED_WORDS)?;
        }
        check_version(words[0], words[1])?;
        let code = match words[CODE_WORD] {
            0 => WeightCode::Ternary,
            1 => WeightCode::Int2,
            value => {
                return Err(HeaderError::Field {
                    field: "code",
                    value,
                });
            }
        };
        let scale = match words[5] {
            0 | 1 => {
                expect(FIXED_WORDS)?;
                if words[5] == 0 {
                    ScaleGranularity::Tensor
                } else {
                    ScaleGranularity::Row
                }
            }
            2 => {
                expect(FIXED_WORDS + 1)?;
                ScaleGranularity::Group {
                    size: words[6] as usize,
                }
            }
            3 => {
                let count = words.get(6).copied().unwrap_or(0) as usize;
                expect((FIXED_WORDS + 1).saturating_add(count))?;
                let rows = words[FIXED_WORDS + 1..]
                    .iter()
                    .map(|&r| r as usize)
                    .collect();
                ScaleGranularity::Segments { rows }
            }
            value => {
                return Err(HeaderError::Field {
                    field: "scale",
                    value,
                });
            }
        };
        let layout = PackedLayout::new(words[2] as usize, words[3] as usize, code, scale)?;
        Ok(Self::new(layout))
    }
}

/// A header as it is read: of any version, around the layout of either kind.
#[derive(Deserialize)]
pub(crate) struct RawHeader<L> {
    format: String,
    version: u32,
    #[serde(flatten)]
    layout: L,
}

impl<L> RawHeader<L> {
    /// The layout, if this is a header of the format in a supported version.
    pub(crate) fn into_layout(self) -> Result<L, HeaderError> {
        if self.format != FORMAT_NAME {
            return Err(HeaderError::Format { found: self.format });
        }
        check_version(MAGIC, self.version)?;
        Ok(self.layout)
    }
}

impl TryFrom<RawHeader<PackedLayout>> for PackedHeader {
    type Error = HeaderError;

    fn try_from(raw: RawHeader<PackedLayout>) -> Result<Self, HeaderError> {
        raw.into_layout().map(Self::new)
    }
}

/// Refuses what is no header, or one of another version.
pub(crate) fn check_version(magic: u32, version: u32) -> Result<(), HeaderError> {
    if magic != MAGIC {
        return Err(HeaderError::Magic {
            found: magic,
            expected: MAGIC,
        });
    }
    if version != VERSION {
        return Err(HeaderError::Version {
            found: version,
            supported: VERSION,
        });
    }
    Ok(())
}
