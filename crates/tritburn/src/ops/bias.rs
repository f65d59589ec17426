//! An optional bias that can cross the backend boundary.

use burn::backend::{Backend, ExtensionType, tensor::FloatTensor};

/// Bias of a linear operation, `[out]` in the dtype of its input.
#[derive(ExtensionType)]
#[extension_type(fusion: cfg(feature = "cube"))]
pub enum Bias<B: Backend> {
    /// No bias.
    Absent,
    /// Added after the rescale.
    Present(FloatTensor<B>),
}

impl<B: Backend> Bias<B> {
    /// The bias as an option.
    pub fn into_option(self) -> Option<FloatTensor<B>> {
        match self {
            Self::Absent => None,
            Self::Present(bias) => Some(bias),
        }
    }
}

impl<B: Backend> From<Option<FloatTensor<B>>> for Bias<B> {
    fn from(bias: Option<FloatTensor<B>>) -> Self {
        bias.map_or(Self::Absent, Self::Present)
    }
}
