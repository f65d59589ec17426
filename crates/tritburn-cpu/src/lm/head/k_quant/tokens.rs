//! Activations of 16 bits in two bytes.

use tritburn_formats::quantize::SCALE_FLOOR;

use super::{BLOCK, GROUP, GROUPS};
use crate::parallel::{self, OutPtr};

/// What vector code reads of a token.
#[cfg(any(test, target_arch = "x86_64"))]
pub(super) struct TokenPointers {
    /// The upper and the lower bytes, 256 a block.
    pub planes: [*const i8; 2],
    /// The sums of each block, see [`Tokens`].
    pub sums: *const [[i16; GROUPS]; 2],
}

/// The largest integer: its upper byte is 127.
const TOP: f32 = 127.0 * 256.0;

/// The activations of each token as integers `x = 256 · high + low`, both bytes signed, padded with zeros to whole
/// blocks, and what they are multiplied by.
pub(super) struct Tokens {
    high: Vec<i8>,
    low: Vec<i8>,
    /// Of each block the sums of the upper bytes of its groups, groups 0, 2, 4, .. before 1, 3, 5, .., then those of
    /// the lower bytes.
    sums: Vec<[[i16; GROUPS]; 2]>,
    scales: Vec<f32>,
    blocks: usize,
}

impl Tokens {
    pub fn new(x: &[f32], k: usize) -> Self {
        let (count, blocks) = (x.len() / k, k.div_ceil(BLOCK));
        let mut tokens = Self {
            high: vec![0; count * blocks * BLOCK],
            low: vec![0; count * blocks * BLOCK],
            sums: vec![[[0; GROUPS]; 2]; count * blocks],
            scales: vec![0.0; count],
            blocks,
        };
        let (high, low) = (OutPtr::new(&mut tokens.high), OutPtr::new(&mut tokens.low));
        let (sums, scales) = (
            OutPtr::new(&mut tokens.sums),
            OutPtr::new(&mut tokens.scales),
        );
        let parallel = parallel::worth_it(x.len().saturating_mul(16));
        parallel::for_ranges(parallel, count, 1, usize::MAX, |range| {
            for token in range {
                let (first, inputs) = (token * blocks, blocks * BLOCK);
                // SAFETY: all have room for each token, and the token is this task's own.
                unsafe {
                    let high = high.slice(first * BLOCK, inputs);
                    let low = low.slice(first * BLOCK, inputs);
                    scales.write(token, round(&x[token * k..][..k], high, low));
                    let groups = high.chunks(BLOCK).zip(low.chunks(BLOCK));
                    for (sums, (high, low)) in sums.slice(first, blocks).iter_mut().zip(groups) {
                        *sums = [group_sums(high), group_sums(low)];
                    }
                }
            }
        });
        tokens
    }

    pub fn count(&self) -> usize {
        self.scales.len()
    }

    /// What the integers of a token are multiplied by; NaN for one that is not finite.
    pub fn scale(&self, token: usize) -> f32 {
        self.scales[token]
    }

    /// The upper and the lower bytes of a block.
    pub fn bytes(&self, token: usize, block: usize) -> [&[i8]; 2] {
        let first = (token * self.blocks + block) * BLOCK;
        [&self.high[first..][..BLOCK], &self.low[first..][..BLOCK]]
    }

    /// Where the bytes and sums of a token begin.
    ///
    /// # Panics
    /// If there is no such token.
    #[cfg(any(test, target_arch = "x86_64"))]
    pub fn pointers(&self, token: usize) -> TokenPointers {
        let blocks = token * self.blocks..(token + 1) * self.blocks;
        let bytes = blocks.start * BLOCK..blocks.end * BLOCK;
        TokenPointers {
            planes: [&self.high, &self.low].map(|plane| plane[bytes.clone()].as_ptr()),
            sums: self.sums[blocks].as_ptr(),
        }
    }
}

/// Rounds a token, half to even; returns its scale.
fn round(x: &[f32], high: &mut [i8], low: &mut [i8]) -> f32 {
    // `max` skips NaN, a sum of zeros does not.
    let largest = x.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    if !largest.is_finite() || x.iter().map(|x| x * 0.0).sum::<f32>().is_nan() {
        return f32::NAN;
    }
    let inverse = TOP / largest.max(SCALE_FLOOR);
    for ((x, high), low) in x.iter().zip(high).zip(low) {
        let integer = (x * inverse).round_ties_even().clamp(-TOP, TOP) as i32;
        *low = integer as i8;
        *high = ((integer - i32::from(*low)) >> 8) as i8;
    }
    1.0 / inverse
}

/// The sums of the groups of a block, even groups first.
fn group_sums(bytes: &[i8]) -> [i16; GROUPS] {
    std::array::from_fn(|at| {
        let group = 2 * (at % (GROUPS / 2)) + at / (GROUPS / 2);
        let bytes = &bytes[group * GROUP..][..GROUP];
        bytes.iter().map(|&byte| i16::from(byte)).sum()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_bytes_are_the_rounded_number() {
        let x: Vec<f32> = (-130..170).map(|i| i as f32 * 0.37).collect();
        let tokens = Tokens::new(&x, 300);
        let scale = tokens.scale(0);
        assert_eq!((tokens.count(), scale), (1, 1.0 / (TOP / (169.0 * 0.37))));
        for block in 0..2 {
            let [high, low] = tokens.bytes(0, block);
            for i in 0..BLOCK {
                let integer = 256 * i32::from(high[i]) + i32::from(low[i]);
                let x = x.get(block * BLOCK + i).copied().unwrap_or(0.0);
                assert!((integer as f32 * scale - x).abs() <= 0.51 * scale);
            }
            // SAFETY: the token has two blocks.
            let sums = unsafe { tokens.pointers(0).sums.add(block).read() };
            for (bytes, sums) in [high, low].into_iter().zip(sums) {
                for group in 0..GROUPS {
                    let bytes = &bytes[group * GROUP..][..GROUP];
                    let sum: i32 = bytes.iter().map(|&b| i32::from(b)).sum();
                    assert_eq!(i32::from(sums[group / 2 + group % 2 * 8]), sum);
                }
            }
        }
    }

    #[test]
    fn extreme_and_bad_numbers_are_rounded() {
        let tokens = Tokens::new(
            &[3.0, -3.0, 0.0, 1e-9, 0.0, 0.0, f32::NAN, 1.0, f32::INFINITY],
            3,
        );
        let at = |token, i: usize| {
            let [high, low] = tokens.bytes(token, 0);
            (high[i], low[i])
        };
        assert_eq!(
            [at(0, 0), at(0, 1), at(0, 2)],
            [(127, 0), (-127, 0), (0, 0)]
        );
        assert_eq!((at(1, 0), tokens.scale(1) > 0.0), ((0, 3), true));
        assert!(tokens.scale(2).is_nan());
    }
}
