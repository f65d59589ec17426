//! Packed weights in the canonical layout.

use tritburn_formats::PackedLayout;

use super::buffer::Buffer;
use crate::error::KernelError;

/// Packed weights `[N, K]`: 2-bit codes in the canonical layout and their f32 scales.
#[derive(Clone, Debug)]
pub struct PackedWeights {
    layout: PackedLayout,
    words: Buffer,
    scales: Buffer,
}

impl PackedWeights {
    /// Weights of `layout` in `words` (u32, `layout.word_count()`) and `scales` (f32,
    /// `layout.scale_count()`).
    ///
    /// # Errors
    /// [`KernelError`] if a buffer has another length or is too small.
    pub fn new(layout: PackedLayout, words: Buffer, scales: Buffer) -> Result<Self, KernelError> {
        words.check_exact("packed words", layout.word_count())?;
        scales.check_exact("weight scales", layout.scale_count())?;
        Ok(Self {
            layout,
            words,
            scales,
        })
    }

    /// Shape, codes and scale granularity.
    pub fn layout(&self) -> &PackedLayout {
        &self.layout
    }

    /// The packed words.
    pub fn words(&self) -> &Buffer {
        &self.words
    }

    /// The scales.
    pub fn scales(&self) -> &Buffer {
        &self.scales
    }
}
