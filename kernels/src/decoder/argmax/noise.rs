//! Device code: noise that turns the largest value into a random draw.

use cubecl::prelude::*;

/// A word that depends on all bits of `x` (the function `lowbias32` of Chris Wellons' hash prospector).
#[cube]
fn mixed(x: u32) -> u32 {
    let a = (x ^ (x >> 16u32)) * 0x7FEB_352Du32;
    let b = (a ^ (a >> 15u32)) * 0x846C_A68Bu32;
    b ^ (b >> 16u32)
}

/// What the noise of a row depends on: its seed, and the position of its token.
#[cube]
pub(super) fn row_key(low: u32, high: u32, position: u32) -> u32 {
    mixed(position ^ mixed(low ^ mixed(high)))
}

/// Standard Gumbel noise of a column, `-ln(-ln u)` for a uniform u of 23 bits between 0 and 1.
#[cube]
pub(super) fn gumbel(key: u32, column: u32) -> f32 {
    let word = mixed(mixed(column ^ key) + key);
    let uniform = (f32::cast_from(word >> 9u32) + 0.5f32) * comptime!(1.0f32 / 8_388_608.0);
    -(-uniform.ln()).ln()
}
