//! The packed weights of a product, as they cross the backend boundary.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, ExtensionType};

/// Packed weights, with or without a copy in the order that the device's kernels read best.
///
/// Forward products may read either; gradients read the canonical codes.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "cube"))]
pub enum WeightOperand<B: Backend> {
    /// Codes U32 `[layout.word_count()]` and scales F32 `[layout.scale_count()]`.
    Canonical {
        /// Packed codes in the canonical layout.
        codes: IntTensor<B>,
        /// Scales of the layout's granularity.
        scales: FloatTensor<B>,
    },
    /// The same with the result of [`prepack`](super::backend::TernaryOps::prepack).
    Prepacked {
        /// Packed codes in the canonical layout.
        codes: IntTensor<B>,
        /// Scales of the layout's granularity.
        scales: FloatTensor<B>,
        /// Codes in the order of the device's kernels.
        words: IntTensor<B>,
        /// One scale per output row, F32 `[out]`.
        row_scales: FloatTensor<B>,
    },
    /// Nothing but the result of [`prepack`](super::backend::TernaryOps::prepack), for inference on devices
    /// whose kernels read it: no gradient can be computed.
    Fragments {
        /// Codes in the order of the device's kernels.
        words: IntTensor<B>,
        /// One scale per output row, F32 `[out]`.
        row_scales: FloatTensor<B>,
    },
}

impl<B: Backend> WeightOperand<B> {
    /// Whether the canonical codes are there.
    #[cfg_attr(not(feature = "cube"), allow(dead_code))]
    pub(super) fn has_canonical(&self) -> bool {
        !matches!(self, Self::Fragments { .. })
    }

    /// Codes and scales in the canonical layout.
    ///
    /// # Panics
    /// For [`Fragments`](Self::Fragments), which [`FrozenWeight`](super::FrozenWeight) sends only
    /// where nothing else is read.
    pub fn into_canonical(self) -> (IntTensor<B>, FloatTensor<B>) {
        match self {
            Self::Canonical { codes, scales } | Self::Prepacked { codes, scales, .. } => {
                (codes, scales)
            }
            Self::Fragments { .. } => panic!("frozen weights hold no canonical codes"),
        }
    }
}
