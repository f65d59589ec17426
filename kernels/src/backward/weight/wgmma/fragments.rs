//! Int8 activations transposed into fragments.

use cubecl::prelude::*;

/// Transposes activations `[M, K]` into fragments of `wgmma`'s left operand.
///
/// The output is a sequence of tiles of 64 inputs × 64 tokens, input tiles outermost, followed by the
/// token scales, padded with zeros to a whole tile. A tile is two halves of 128 lanes × 4 words; a
/// word is one slice of 16 tokens of one input. Lane `(g, q)` of a warp holds inputs `2g` and
/// `2g + 1` of the warp's 16, and of each slice tokens `2q`, `2q + 1`, `2q + 8` and `2q + 9`, one per
/// byte. A byte is the activation plus 128, as [`decode_scaled`] expects; elements outside of the
/// matrix are activation 0. One unit writes two words.
///
/// [`decode_scaled`]: crate::device_code::fragments::decode_scaled
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn transpose(
    x: &[u32],
    scales: &[f32],
    out: &mut [Vector<u32, Const<2>>],
    tokens: usize,
    words_per_row: usize,
    token_tiles: usize,
    count: usize,
) {
    if ABSOLUTE_POS < token_tiles * 32 {
        let mut both = Vector::<u32, Const<2>>::empty();
        #[unroll]
        for i in 0..2usize {
            let token = 2 * ABSOLUTE_POS + i;
            let inside = token < tokens;
            let scale = u32::reinterpret(scales[select(inside, token, 0)]);
            both.insert(i, select(inside, scale, 0u32));
        }
        out[count + ABSOLUTE_POS] = both;
    }
    if ABSOLUTE_POS < count {
        let tile = ABSOLUTE_POS / 512;
        let within = ABSOLUTE_POS % 512;
        let (input_tile, token_tile) = (tile / token_tiles, tile % token_tiles);
        let slice = (within / 256) * 2 + within % 2;
        let lane = (within / 2) % 128;
        let (warp, g, q) = (lane / 32, (lane % 32) / 4, lane % 4);
        let index = input_tile * 16 + warp * 4 + g / 2;
        let shift = u32::cast_from(16 * (g % 2));
        let first = token_tile * 64 + slice * 16 + 2 * q;
        let mut even = 0u32;
        let mut odd = 0u32;
        #[unroll]
        for i in 0..4usize {
            let token = first + comptime!(8 * (i / 2) + i % 2);
            let inside = token < tokens && index < words_per_row;
            let word = x[select(inside, token * words_per_row + index, 0)];
            let pair = select(inside, word >> shift, 0u32);
            even |= (pair & 0xFF) << comptime!(8 * i as u32).runtime();
            odd |= ((pair >> 8) & 0xFF) << comptime!(8 * i as u32).runtime();
        }
        let mut both = Vector::<u32, Const<2>>::empty();
        both.insert(0usize, even ^ 0x8080_8080u32);
        both.insert(1usize, odd ^ 0x8080_8080u32);
        out[ABSOLUTE_POS] = both;
    }
}
