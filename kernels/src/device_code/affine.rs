//! Canonical codes of 2, 3 and 4 bits to weights.

use cubecl::prelude::*;

/// How the words of a unit of 32 inputs are read. A kernel is compiled for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct UnitCode {
    /// Bits of a code. All codes of a unit together are a bit string.
    pub bits: usize,
    /// Whether a mask says which 16 of 32 inputs have a code.
    pub sparse: bool,
}

impl UnitCode {
    /// u32 words of the codes of a unit.
    pub(crate) const fn words(self) -> usize {
        if self.sparse {
            self.bits / 2
        } else {
            self.bits
        }
    }
}

/// `(code - zero) · scale` of inputs `first..first + A` of a unit, whose codes are the words from
/// `base` on; 0 where `mask` drops the input of a sparse unit.
#[cube]
pub(crate) fn unit_weights<A: Size>(
    words: &Array<u32>,
    mask: u32,
    scale: f32,
    zero: f32,
    #[comptime] base: usize,
    #[comptime] first: usize,
    #[comptime] code: UnitCode,
) -> Vector<f32, A> {
    let mut codes = Vector::<f32, A>::empty();
    #[unroll]
    for i in 0..A::value() {
        let input = comptime!(first + i);
        let value = if comptime!(code.sparse) {
            kept_code(words, mask, base, input)
        } else {
            dense_code(words, base, input, comptime!(code.bits))
        };
        codes.insert(i, f32::cast_from(value));
    }
    let mut weights = (codes - Vector::<f32, A>::new(zero)) * Vector::<f32, A>::new(scale);
    if comptime!(code.sparse) {
        #[unroll]
        for i in 0..A::value() {
            let kept = (mask >> comptime!((first + i) as u32).runtime()) & 1u32;
            weights.insert(i, select(kept == 1u32, weights.extract(i), 0.0f32));
        }
    }
    weights
}

/// Code `input` of a bit string; of 3 bits, two lie across words.
#[cube]
fn dense_code(
    words: &Array<u32>,
    #[comptime] base: usize,
    #[comptime] input: usize,
    #[comptime] bits: usize,
) -> u32 {
    let at = comptime!(bits * input);
    let word = comptime!(base + at / 32);
    let shift = comptime!(at as u32 % 32);
    let mut code = words[word] >> comptime!(shift).runtime();
    if comptime!(at % 32 + bits > 32) {
        let high = words[comptime!(word + 1)];
        code |= high << comptime!(32 - shift).runtime();
    }
    code & comptime!((1u32 << bits) - 1).runtime()
}

/// The code of a kept input: as many codes lie before it as inputs before it are kept. Of a dropped
/// input any code.
#[cube]
fn kept_code(
    words: &Array<u32>,
    mask: u32,
    #[comptime] base: usize,
    #[comptime] input: usize,
) -> u32 {
    let before = mask & comptime!((1u32 << input) - 1).runtime();
    let rank = before.count_ones();
    let (low, high) = (words[base], words[comptime!(base + 1)]);
    let word = select(rank < 8u32, low, high);
    (word >> (4u32 * (rank & 7u32))) & 15u32
}
