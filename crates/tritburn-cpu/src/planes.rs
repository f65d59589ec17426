//! Activations in the order in which the kernels decode weights.
//!
//! 64 bytes of packed codes hold 256 weights, and `(byte j >> 2i) & 3` is the code of input
//! `4j + i`. So each block of 256 activations is stored as four planes of 64 bytes, plane `i`
//! holding inputs `i, 4 + i, 8 + i, ...`: one shift and one mask then line a vector of codes up
//! with a vector of activations, whatever its width.

use crate::view::QuantizedView;

/// Inputs of a block.
pub(crate) const BLOCK: usize = 256;
/// Bytes of a plane.
pub(crate) const PLANE: usize = 64;

/// One cache line of int8 activations.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([u8; PLANE]);

/// The permuted activations of M tokens, zero past the end of a row.
pub(crate) struct Planes {
    lines: Vec<Line>,
    blocks: usize,
    sums: Vec<i32>,
    groups: usize,
}

impl Planes {
    /// Permutes `x`; `group` inputs (a multiple of 16) share a sum, all of them if `None`.
    pub(crate) fn new(x: &QuantizedView<'_>, group: Option<usize>) -> Self {
        let k = x.in_features();
        let blocks = k.div_ceil(BLOCK);
        let row_words = x.codes().len() / x.rows().max(1);
        let group_words = group.map_or(row_words, |size| size / 4).max(1);
        let groups = row_words.div_ceil(group_words);
        let mut lines = Vec::with_capacity(x.rows() * blocks * 4);
        let mut sums = Vec::with_capacity(x.rows() * groups);
        for row in x.codes().chunks_exact(row_words.max(1)) {
            permute(row, k, &mut lines);
            let valid = k.div_ceil(4);
            for group in row[..valid].chunks(group_words) {
                sums.push(group.iter().map(|&word| byte_sum(word)).sum());
            }
            // Whatever stands past the end of the row was counted above and is no input.
            if let Some(last) = sums.last_mut().filter(|_| !k.is_multiple_of(4)) {
                *last -= byte_sum(row[valid - 1] & !last_mask(k));
            }
        }
        Self {
            lines,
            blocks,
            sums,
            groups,
        }
    }

    /// First plane of the first block of a token.
    #[inline(always)]
    pub(crate) fn token(&self, token: usize) -> *const i8 {
        self.lines[token * self.blocks * 4..].as_ptr().cast()
    }

    /// A plane of a token: plane `index % 4` of block `index / 4`.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn line(&self, token: usize, index: usize) -> &[u8; PLANE] {
        &self.lines[token * self.blocks * 4 + index].0
    }

    /// Bytes from one token to the next.
    #[inline(always)]
    pub(crate) fn stride(&self) -> usize {
        self.blocks * BLOCK
    }

    /// Blocks of a token.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn blocks(&self) -> usize {
        self.blocks
    }

    /// Sums of the activations of a token, one per group.
    #[inline(always)]
    pub(crate) fn sums(&self, token: usize) -> &[i32] {
        &self.sums[token * self.groups..(token + 1) * self.groups]
    }
}

/// Appends the planes of one row of `k` codes.
fn permute(row: &[u32], k: usize, lines: &mut Vec<Line>) {
    let (whole, _) = row[..k / 4].as_chunks::<PLANE>();
    for words in whole {
        push_block(words, lines);
    }
    let done = whole.len() * PLANE;
    if done * 4 < k {
        let mut words = [0; PLANE];
        let valid = k.div_ceil(4);
        words[..valid - done].copy_from_slice(&row[done..valid]);
        words[valid - done - 1] &= last_mask(k);
        push_block(&words, lines);
    }
}

#[inline(always)]
fn push_block(words: &[u32; PLANE], lines: &mut Vec<Line>) {
    for plane in 0..4 {
        let mut line = Line([0; PLANE]);
        for (byte, word) in line.0.iter_mut().zip(words) {
            *byte = (word >> (8 * plane)) as u8;
        }
        lines.push(line);
    }
}

/// The bytes of the word that holds input `k - 1` which are inputs.
fn last_mask(k: usize) -> u32 {
    match k % 4 {
        0 => u32::MAX,
        rest => (1 << (8 * rest)) - 1,
    }
}

#[inline(always)]
fn byte_sum(word: u32) -> i32 {
    word.to_le_bytes().iter().map(|&b| i32::from(b as i8)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_hold_each_input_at_its_place_and_nothing_past_the_end() {
        for k in [1, 4, 5, 16, 63, 255, 256, 257, 300, 513] {
            let words = tritburn_formats::layout::activation_words_per_row(k);
            let codes: Vec<u32> = (0..2 * words as u32)
                .map(|i| i.wrapping_mul(0x9e37_79b9) | 1)
                .collect();
            let view = QuantizedView::new(&codes, &[1.0, 1.0], k).unwrap();
            let planes = Planes::new(&view, Some(16));
            for token in 0..2 {
                let input = |k: usize| (codes[token * words + k / 4] >> (8 * (k % 4))) as u8 as i8;
                // SAFETY: a token has `stride` bytes.
                let bytes =
                    unsafe { std::slice::from_raw_parts(planes.token(token), planes.stride()) };
                for (at, &byte) in bytes.iter().enumerate() {
                    let (block, plane, j) = (at / BLOCK, at % BLOCK / PLANE, at % PLANE);
                    let source = block * BLOCK + 4 * j + plane;
                    let expected = if source < k { input(source) } else { 0 };
                    assert_eq!(byte, expected, "k {k} at {at}");
                }
                let sums: Vec<i32> = (0..k)
                    .step_by(16)
                    .map(|g| (g..(g + 16).min(k)).map(|k| i32::from(input(k))).sum())
                    .collect();
                assert_eq!(planes.sums(token), sums, "k {k}");
            }
        }
    }
}
