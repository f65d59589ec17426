//! Device code of the prepacking: one unit per word.

use cubecl::prelude::*;
use tritburn_formats::WeightCode;

use super::base::{FragmentOrder, TILE_WORDS};
use crate::device_code::decode::{ScaleMap, scale_index};

/// The 16 codes of a canonical word, as two's complement numbers of two bits.
#[cube]
fn twos_complement(codes: u32, #[comptime] code: WeightCode) -> u32 {
    // Ternary codes 0, 1, 2 stand for -1, 0, 1: subtract 1 from every code. Int2: subtract 2.
    match comptime!(code) {
        WeightCode::Ternary => {
            let low = codes & 0x5555_5555;
            let high = (codes >> 1) & 0x5555_5555;
            // x - 1 mod 4: the low bit flips; the high bit flips where the low bit was 0.
            let flipped = (high ^ (low ^ 0x5555_5555)) << 1;
            flipped | (low ^ 0x5555_5555)
        }
        _ => codes ^ 0xAAAA_AAAA,
    }
}

/// Word `index` of row `row`, in two's complement; zero outside of the matrix.
#[cube]
fn canonical(
    words: &[u32],
    row: usize,
    index: usize,
    rows: usize,
    words_per_row: usize,
    #[comptime] code: WeightCode,
) -> u32 {
    let inside = row < rows && index < words_per_row;
    let word = words[select(inside, row * words_per_row + index, 0)];
    select(inside, twos_complement(word, code), 0u32)
}

/// Writes canonical words `[rows, words_per_row]` in fragment order.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn prepack(
    words: &[u32],
    out: &mut [u32],
    rows: usize,
    words_per_row: usize,
    col_tiles: usize,
    count: usize,
    #[comptime] order: FragmentOrder,
    #[comptime] code: WeightCode,
) {
    if ABSOLUTE_POS < count {
        let tile = ABSOLUTE_POS / TILE_WORDS;
        let within = ABSOLUTE_POS % TILE_WORDS;
        let (row_tile, col_tile) = (tile / col_tiles, tile % col_tiles);
        let warp = within / 128;
        let lane = (within / 4) % 32;
        let slice = within % 4;
        let (g, q) = (lane / 4, u32::cast_from(lane % 4));
        let row = row_tile * 64 + warp * 16 + 2 * g;
        let first = col_tile * 8 + slice * 2;
        let mut packed = 0u32;
        #[unroll]
        for half in 0..2usize {
            #[unroll]
            for part in 0..2usize {
                let word = canonical(words, row + half, first + part, rows, words_per_row, code);
                match comptime!(order) {
                    FragmentOrder::Int8 => {
                        let codes = word >> (8 * q);
                        let top = comptime!(6 - 2 * (half + 2 * part) as u32);
                        #[unroll]
                        for byte in 0..4u32 {
                            let code = (codes >> comptime!(2 * byte).runtime()) & 3;
                            packed |= code << comptime!(8 * byte + top).runtime();
                        }
                    }
                    FragmentOrder::Half =>
                    {
                        #[unroll]
                        for high in 0..2u32 {
                            let codes = word >> (comptime!(16 * high).runtime() + 4 * q);
                            let register = comptime!(4 * part as u32 + half as u32 + 2 * high);
                            packed |= (codes & 3) << comptime!(14 - 2 * register).runtime();
                            packed |= ((codes >> 2) & 3) << comptime!(30 - 2 * register).runtime();
                        }
                    }
                }
            }
        }
        out[ABSOLUTE_POS] = packed;
    }
}

/// Writes canonical words `[rows, words_per_row]` of W as half-precision fragments of Wᵀ.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn prepack_transposed(
    words: &[u32],
    out: &mut [u32],
    rows: usize,
    words_per_row: usize,
    col_tiles: usize,
    count: usize,
    #[comptime] code: WeightCode,
) {
    if ABSOLUTE_POS < count {
        let tile = ABSOLUTE_POS / TILE_WORDS;
        let within = ABSOLUTE_POS % TILE_WORDS;
        let (row_tile, col_tile) = (tile / col_tiles, tile % col_tiles);
        let warp = within / 128;
        let lane = (within / 4) % 32;
        let slice = within % 4;
        let (g, q) = (lane / 4, lane % 4);
        let index = row_tile * 4 + warp;
        let shift = u32::cast_from(4 * g);
        let first = col_tile * 128 + slice * 32 + 2 * q;
        let mut packed = 0u32;
        #[unroll]
        for part in 0..2usize {
            #[unroll]
            for high in 0..2usize {
                #[unroll]
                for element in 0..2usize {
                    let row = first + comptime!(16 * part + 8 * high + element);
                    let pair = canonical(words, row, index, rows, words_per_row, code) >> shift;
                    let register = comptime!((4 * part + 2 * high) as u32);
                    let base = comptime!(16 * element as u32 + 14);
                    packed |= (pair & 3) << comptime!(base - 2 * register).runtime();
                    packed |= ((pair >> 2) & 3) << comptime!(base - 2 * (register + 1)).runtime();
                }
            }
        }
        out[ABSOLUTE_POS] = packed;
    }
}

/// Expands scales per tensor, row or segment to one scale per row, times `unit`.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn row_scales(scales: &[f32], out: &mut [f32], map: ScaleMap, rows: usize, unit: f32) {
    if ABSOLUTE_POS < rows {
        out[ABSOLUTE_POS] = scales[scale_index(&map, ABSOLUTE_POS, 0usize)] * unit;
    }
}

/// Writes the first scale, or 1 if there are several, times `unit`, to every row.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn fill_scales(
    scales: &[f32],
    out: &mut [f32],
    rows: usize,
    unit: f32,
    #[comptime] first: bool,
) {
    if ABSOLUTE_POS < rows {
        out[ABSOLUTE_POS] = match comptime!(first) {
            true => scales[0] * unit,
            false => unit,
        };
    }
}
