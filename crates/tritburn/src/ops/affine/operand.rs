//! The affine weights of a product, as they cross the backend boundary.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, ExtensionType};

use crate::training::Optional;

/// U32 words or none.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "cube"))]
pub enum OptionalWords<B: Backend> {
    /// None.
    Absent,
    /// Some.
    Present(IntTensor<B>),
}

impl<B: Backend> OptionalWords<B> {
    /// The tensor as an option.
    pub fn into_option(self) -> Option<IntTensor<B>> {
        match self {
            Self::Absent => None,
            Self::Present(words) => Some(words),
        }
    }
}

impl<B: Backend> From<Option<IntTensor<B>>> for OptionalWords<B> {
    fn from(words: Option<IntTensor<B>>) -> Self {
        words.map_or(Self::Absent, Self::Present)
    }
}

/// Affine weights in the canonical layout of [`tritburn_formats::affine`], all parts of rank 1. Which
/// there are follows from the layout.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "cube"))]
pub struct AffineOperand<B: Backend> {
    /// Codes, U32 `[layout.word_count()]`.
    pub words: IntTensor<B>,
    /// Kept inputs of sparse weights, U32 `[layout.mask_count()]`.
    #[extension_type]
    pub mask: OptionalWords<B>,
    /// `[layout.group_count()]`, of the type that the layout says.
    pub scales: FloatTensor<B>,
    /// As the scales.
    #[extension_type]
    pub zeros: Optional<B>,
    /// The input of each column, U32 `[in]`.
    #[extension_type]
    pub order: OptionalWords<B>,
}
