//! Keys and values of one layer, preallocated.

use burn::tensor::{DType, Device, Tensor};

use super::heads::Heads;
use super::layout::CacheLayout;
use crate::error::Error;
use crate::ops::{check_written, runs_kernels};

const HELD: &str = "a cache holds its tensors between operations";

/// Keys and values of one layer for a fixed number of sequences and positions, or of blocks that
/// sequences share.
///
/// Both are `[rows, key_value heads, capacity, head size]`, or `[blocks, key_value heads, positions of a
/// block, head size]`, held as rank 1 since tensors of higher rank may be pitched. [`rotary_append`](super::rotary_append) writes them in place: clones of a
/// cache on a CubeCL device share its memory.
#[derive(Clone, Debug)]
pub struct LayerCache {
    /// `None` only while an operation has them.
    tensors: Option<[Tensor<1>; 2]>,
    len: usize,
    dtype: DType,
    /// Rows, or blocks.
    rows: usize,
    layout: CacheLayout,
}

impl LayerCache {
    /// A cache for `rows` sequences of up to `capacity` tokens, filled with zeros.
    ///
    /// # Errors
    /// [`Error::EmptyCache`] without rows or positions, [`Error::DType`] for anything but floats,
    /// [`Error::HeadSize`] for a head size that a CubeCL device has no kernels for; Flex takes any.
    pub fn new(
        rows: usize,
        capacity: usize,
        heads: Heads,
        dtype: DType,
        device: &Device,
    ) -> Result<Self, Error> {
        let layout = CacheLayout {
            heads,
            capacity,
            block: None,
        };
        Self::with_layout(rows, layout, dtype, device)
    }

    /// A cache of `blocks` blocks of `positions` positions each, filled with zeros, for sequences of up
    /// to `capacity` tokens. [`Tokens::blocks`](super::Tokens::blocks) says which blocks a sequence has.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn paged(
        blocks: usize,
        positions: usize,
        capacity: usize,
        heads: Heads,
        dtype: DType,
        device: &Device,
    ) -> Result<Self, Error> {
        let layout = CacheLayout {
            heads,
            capacity,
            block: Some(positions),
        };
        Self::with_layout(blocks, layout, dtype, device)
    }

    fn with_layout(
        rows: usize,
        layout: CacheLayout,
        dtype: DType,
        device: &Device,
    ) -> Result<Self, Error> {
        let CacheLayout {
            heads, capacity, ..
        } = layout;
        let positions = layout.stored();
        if rows == 0 || capacity == 0 || positions == 0 {
            return Err(Error::EmptyCache { rows, capacity });
        }
        check_written("cache", dtype, device)?;
        if runs_kernels(device) && !heads.has_kernels() {
            return Err(Error::HeadSize {
                device: format!("{device:?}"),
                found: heads.size,
            });
        }
        let len = rows * heads.key_value_width() * positions;
        let zeros = || Tensor::zeros([len], (device, dtype));
        Ok(Self {
            tensors: Some([zeros(), zeros()]),
            len,
            dtype,
            rows,
            layout,
        })
    }

    /// Sequences, or blocks.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Positions of a sequence.
    pub fn capacity(&self) -> usize {
        self.layout.capacity
    }

    /// Shape of the attention.
    pub fn heads(&self) -> Heads {
        self.layout.heads
    }

    /// How it lies in memory.
    pub fn layout(&self) -> CacheLayout {
        self.layout
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Bytes of keys and values.
    pub fn byte_count(&self) -> usize {
        2 * self.len * self.dtype.size()
    }

    /// Keys and values.
    pub(super) fn tensors(&self) -> &[Tensor<1>; 2] {
        self.tensors.as_ref().expect(HELD)
    }

    /// Lets `write` have keys and values, and keeps what it returns: a backend that counts owners
    /// then writes in place.
    pub(super) fn update<T>(
        &mut self,
        write: impl FnOnce([Tensor<1>; 2]) -> (T, [Tensor<1>; 2]),
    ) -> T {
        let (result, tensors) = write(self.tensors.take().expect(HELD));
        self.tensors = Some(tensors);
        result
    }
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use burn_cubecl::CubeDevice;
    use tritburn_kernels::{FloatType, KvCache};

    use super::*;

    #[test]
    fn head_sizes_with_kernels_are_those_that_the_kernels_take() {
        let client = CubeDevice::Cpu(Default::default()).client();
        for size in 0..=260 {
            let buffer = || client.empty(4 * size.max(1));
            let cache = KvCache::new(buffer(), buffer(), [1, 1, 1, size], FloatType::F32);
            let heads = Heads {
                query: 2,
                key_value: 1,
                size,
            };
            assert_eq!(heads.has_kernels(), cache.is_ok(), "{size}");
        }
    }
}
