//! Keys and values of all layers.

use burn::tensor::{DType, Device};
use tritburn::Error;
use tritburn::transformer::{Heads, LayerCache};

/// Preallocated keys and values of a batch of sequences.
#[derive(Clone, Debug)]
pub struct KvCache {
    pub(super) layers: Vec<LayerCache>,
    rows: usize,
    capacity: usize,
}

impl KvCache {
    pub(super) fn new(
        layers: usize,
        rows: usize,
        capacity: usize,
        heads: Heads,
        dtype: DType,
        device: &Device,
    ) -> Result<Self, Error> {
        let layers = (0..layers)
            .map(|_| LayerCache::new(rows, capacity, heads, dtype, device))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            layers,
            rows,
            capacity,
        })
    }

    /// Sequences.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Positions of a sequence.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes on the device.
    pub fn byte_count(&self) -> usize {
        self.layers.iter().map(LayerCache::byte_count).sum()
    }
}
