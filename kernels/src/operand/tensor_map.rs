//! Matrices as the copies of whole tiles take them.

use cubecl::prelude::*;
use cubecl::server::Handle;
use cubecl::zspace::{Shape, Strides};

use super::buffer::LINE_BYTES;

/// A matrix for copies of `tile` rows and columns of 128 bytes, swizzled.
pub(crate) fn tensor_map(
    handle: &Handle,
    [rows, cols]: [usize; 2],
    row_stride: usize,
    element: usize,
    dtype: ElemType,
    tile: [usize; 2],
) -> TensorMapArg<Tiled> {
    // The stride of a single row does not matter, but must be whole lines.
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
