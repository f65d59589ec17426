//! The formula of the activation quantiser, which every kernel that quantises calls.

use cubecl::prelude::*;

use crate::device_code::decode::{INFINITY_BITS, nan_of};

/// The parameters with which the values of a token are rounded.
#[derive(CubeType, Clone, Copy)]
pub(crate) struct Rounding {
    /// Bits of the largest magnitude.
    top: u32,
    /// Whether the largest magnitude is finite; if not, all codes are zero.
    pub finite: bool,
    /// The factor `a` before rounding.
    pub a: f32,
}

/// The rounding of a token whose largest magnitude has the bits `top`.
#[cube]
pub(crate) fn rounding_of(top: u32) -> Rounding {
    Rounding {
        top,
        finite: top < INFINITY_BITS,
        a: 127.0f32 / max(f32::reinterpret(top), 1e-5f32),
    }
}

/// The token's scale, NaN if it holds NaN or infinity.
#[cube]
pub(crate) fn scale_of(rounding: &Rounding) -> f32 {
    select(rounding.finite, 1.0f32 / rounding.a, nan_of(rounding.top))
}
