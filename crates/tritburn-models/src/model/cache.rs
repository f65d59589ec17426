//! Keys and values of all layers.

use tritburn::Error;
use tritburn::transformer::LayerCache;

/// Preallocated keys and values of a batch of sequences, or blocks that sequences share.
#[derive(Clone, Debug)]
pub struct KvCache {
    pub(super) layers: Vec<LayerCache>,
}

impl KvCache {
    /// The cache of a model of `layers` layers, one of which `layer` makes.
    pub(super) fn new(
        layers: usize,
        layer: impl Fn() -> Result<LayerCache, Error>,
    ) -> Result<Self, Error> {
        let layers = (0..layers).map(|_| layer()).collect::<Result<_, _>>()?;
        Ok(Self { layers })
    }

    /// Sequences, or blocks.
    pub fn rows(&self) -> usize {
        self.layers.first().map_or(0, LayerCache::rows)
    }

    /// Positions of a sequence.
    pub fn capacity(&self) -> usize {
        self.layers.first().map_or(0, LayerCache::capacity)
    }

    /// Blocks of a sequence: one where a sequence has a row of the cache.
    pub fn blocks_per_row(&self) -> usize {
        let first = self.layers.first();
        first.map_or(1, |layer| layer.layout().blocks_per_row())
    }

    /// Bytes on the device.
    pub fn byte_count(&self) -> usize {
        self.layers.iter().map(LayerCache::byte_count).sum()
    }
}
