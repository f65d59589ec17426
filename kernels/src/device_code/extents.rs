//! Sizes of a portable product, passed at run time so that one compiled kernel serves all shapes.

use cubecl::prelude::*;

/// Extents of a product on the device.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(crate) struct Extents {
    /// Tokens.
    pub m: usize,
    /// Weight rows.
    pub n: usize,
    /// Inputs.
    pub k: usize,
    /// Packed words of a weight row.
    pub words: usize,
    /// Row stride of x: in lines of four words if int8, else in elements.
    pub x_stride: usize,
    /// Row stride of y, in elements.
    pub y_stride: usize,
}
