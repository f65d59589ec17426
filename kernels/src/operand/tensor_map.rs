//! Tensor maps (TMA descriptors) of operands.

use cubecl::prelude::*;
use cubecl::server::Handle;
use cubecl::zspace::{Shape, Strides};

use super::buffer::LINE_BYTES;

/// The tensor map of a matrix, for copies of `tile` rows and columns with the 128-byte swizzle.
pub(crate) fn tensor_map(
    handle: &Handle,
    [rows, cols]: [usize; 2],
    row_stride: usize,
    element: usize,
    dtype: ElemType,
    tile: [usize; 2],
) -> TensorMapArg<Tiled> {
    // Matters for a single row only: its stride is arbitrary, but a tensor map needs whole lines.
    let row_stride = row_stride.next_multiple_of(LINE_BYTES as usize / element);
    let shape = Shape::new([rows, cols]);
    let strides = Strides::new(&[row_stride, 1]);
    // SAFETY: the constructors of the operands check the length against the buffer's bytes.
    let matrix = unsafe { TensorArg::from_raw_parts(handle.clone(), strides, shape) };
    let args = TiledArgs {
        tile_size: Shape::new(tile),
    };
    TensorMapArg::new(args, matrix, dtype)
        .with_swizzle(TensorMapSwizzle::B128)
        .with_prefetch(TensorMapPrefetch::B256)
}
