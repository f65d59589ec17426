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
    /// Elements between rows of x: lines of four words if int8, else elements.
    pub x_stride: usize,
    /// Elements between rows of y.
    pub y_stride: usize,
}
