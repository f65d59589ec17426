//! How wide a code is, and how 32 of them lie in words.

use serde::{Deserialize, Serialize};

/// Inputs that share words: with `b` bits each they fill `b` u32 words, first code in the low bits.
pub const UNIT: usize = 32;

/// Bits of an unsigned code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Bits {
    /// Codes 0..=3.
    #[serde(rename = "uint2")]
    Two = 2,
    /// Codes 0..=7.
    #[serde(rename = "uint3")]
    Three = 3,
    /// Codes 0..=15.
    #[serde(rename = "uint4")]
    Four = 4,
}

impl Bits {
    /// All widths, narrowest first.
    pub const ALL: [Self; 3] = [Self::Two, Self::Three, Self::Four];

    /// The width of that many bits; `None` unless 2, 3 or 4.
    pub fn from_count(bits: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|b| b.count() == bits)
    }

    /// Bits of a code, and u32 words of a unit of 32 codes.
    pub const fn count(self) -> usize {
        self as usize
    }

    /// Largest code, `2^b - 1`.
    pub const fn max_code(self) -> u8 {
        (1 << self as u8) - 1
    }

    /// The zero point of matrices that store none, `2^(b-1)`.
    pub const fn midpoint(self) -> u8 {
        1 << (self as u8 - 1)
    }

    /// Largest `in_features` whose i32 sums of codes times int8 activations stay exact.
    pub const fn max_in_features(self) -> usize {
        i32::MAX as usize / (self.max_code() as usize * 128)
    }

    /// Codes of whole units from `words`, as many as `codes` has room for.
    pub(super) fn unpack(self, words: &[u32], codes: &mut [u8]) {
        match self {
            Self::Two => unpack::<2>(words, codes),
            Self::Three => unpack::<3>(words, codes),
            Self::Four => unpack::<4>(words, codes),
        }
    }

    /// Words of one row of codes, the last unit padded with code 0.
    pub(super) fn pack(self, codes: &[u8], words: &mut [u32]) {
        match self {
            Self::Two => pack::<2>(codes, words),
            Self::Three => pack::<3>(codes, words),
            Self::Four => pack::<4>(codes, words),
        }
    }
}

fn unpack<const BITS: usize>(words: &[u32], codes: &mut [u8]) {
    let (units, _) = words.as_chunks::<BITS>();
    for (codes, &unit) in codes.chunks_mut(UNIT).zip(units) {
        codes.copy_from_slice(&read_unit(unit)[..codes.len()]);
    }
}

fn pack<const BITS: usize>(codes: &[u8], words: &mut [u32]) {
    let (units, _) = words.as_chunks_mut::<BITS>();
    for (codes, unit) in codes.chunks(UNIT).zip(units) {
        let mut padded = [0; UNIT];
        padded[..codes.len()].copy_from_slice(codes);
        *unit = write_unit(&padded);
    }
}

/// The 32 codes of the bit string `words`.
#[inline(always)]
pub(crate) fn read_unit<const BITS: usize>(words: [u32; BITS]) -> [u8; UNIT] {
    let mask = (1 << BITS) - 1;
    std::array::from_fn(|j| {
        let (word, shift) = (BITS * j / 32, BITS * j % 32);
        let next = words.get(word + 1).copied().unwrap_or(0);
        let both = u64::from(words[word]) | u64::from(next) << 32;
        (both >> shift) as u8 & mask
    })
}

/// The bit string of 32 codes that fit their bits.
#[inline(always)]
pub(crate) fn write_unit<const BITS: usize>(codes: &[u8; UNIT]) -> [u32; BITS] {
    let mut words = [0; BITS];
    for (j, &code) in codes.iter().enumerate() {
        let (word, shift) = (BITS * j / 32, BITS * j % 32);
        let both = u64::from(code) << shift;
        words[word] |= both as u32;
        if let Some(next) = words.get_mut(word + 1) {
            *next |= (both >> 32) as u32;
        }
    }
    words
}
