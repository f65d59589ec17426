//! Quantises a single token: each warp rounds the activations of its own column tiles.

use cubecl::prelude::*;

use super::base::SkinnyBlueprint;
use super::kernel::SkinnyExtents;
use crate::device_code::ptx::lines::{
    codes, larger, largest_of_line, largest_of_warp, magnitude_of,
};
use crate::device_code::ptx::{global_address, load_global, load_word, store_word};
use crate::operand::FloatType;
use crate::quantize::activation::{rounding_of, scale_of};

/// Shared-memory addresses of this warp.
#[derive(CubeType, Clone, Copy)]
pub(super) struct WarpMemory {
    /// The int8 codes of its column tiles, 128 bytes each.
    pub codes: u32,
    /// The largest magnitude that each warp of the strip finds, one word per warp.
    pub maxima: u32,
    /// Index of the warp among those of its strip.
    pub split: u32,
}

/// Quantises this warp's column tiles (`tile`, `tile + splits`, …, `plan.ahead` of them) to
/// `memory.codes`, with the same bits as the quantiser kernel, and returns the token's scale.
/// Synchronises the cube once.
#[cube]
pub(super) fn quantize_own<F: Numeric>(
    x: &[F],
    memory: &WarpMemory,
    extents: &SkinnyExtents,
    token: usize,
    tile: usize,
    #[comptime] dtype: FloatType,
    #[comptime] plan: SkinnyBlueprint,
) -> f32 {
    let size = comptime!(dtype.size());
    let (per_tile, count) = comptime!((8 * size, 8 * size * plan.ahead));
    let rounds = comptime!(count.div_ceil(32));
    let lane = UNIT_POS as usize % 32;
    let row_bytes = comptime!(size).runtime() * extents.k;
    let start = token * extents.x_stride * comptime!(size);
    let base = global_address::<F>(x) + u64::cast_from(start);
    let mut held = Array::<Vector<u32, Const<4>>>::new(rounds);
    let mut top = 0u32.runtime();
    #[unroll]
    for round in 0..rounds {
        let line = lane + comptime!(32 * round);
        let at = tile + line / per_tile * comptime!(plan.splits);
        let offset = at * comptime!(128 * size) + line % per_tile * 16;
        held[round] = Vector::new(0u32);
        if line < count && offset < row_bytes {
            held[round] = load_global(base + u64::cast_from(offset));
        }
    }
    #[unroll]
    for round in 0..rounds {
        top = larger(top, largest_of_line(held[round], dtype), dtype);
    }
    let top = largest_of_warp(magnitude_of(top, dtype));
    store_word(memory.maxima + memory.split * 4, top);
    sync_cube();
    let other = u32::cast_from(lane) % comptime!(plan.splits as u32);
    let top = largest_of_warp(load_word(memory.maxima + other * 4));
    let rounding = rounding_of(top);
    let (finite, a) = (rounding.finite, rounding.a);
    #[unroll]
    for round in 0..rounds {
        let line = lane + comptime!(32 * round);
        let mut one = Array::<Vector<u32, Const<4>>>::new(1usize);
        one[0] = held[round];
        if line < count {
            // A line holds four f32 values, or eight of a half type.
            let words = comptime!(4 / size);
            let to = memory.codes + u32::cast_from(line) * comptime!(4 * words as u32);
            #[unroll]
            for word in 0..words {
                let value = select(finite, codes(&one, word, a, dtype), 0u32);
                store_word(to + comptime!(4 * word as u32), value);
            }
        }
    }
    // Makes the other lanes' codes visible.
    sync_plane();
    scale_of(&rounding)
}
