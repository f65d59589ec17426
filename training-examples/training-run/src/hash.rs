//! A checksum that is the same in every build.

/// 64-bit FNV-1a over words of 8 bytes, the last one padded with zeros: finds accidental damage,
/// not forgery.
#[derive(Clone, Copy, Debug)]
pub struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// Adds `bytes`.
    pub fn chain(mut self, bytes: &[u8]) -> Self {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            // The rotation lets high bits reach low ones, which the product alone never does.
            self.0 = (self.0 ^ u64::from_le_bytes(word)).wrapping_mul(0x0100_0000_01b3);
            self.0 = self.0.rotate_left(29);
        }
        self
    }

    /// The checksum.
    pub fn finish(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_single_flipped_bit_changes_the_checksum() {
        let bytes = [7u8; 21];
        let clean = Fnv::default().chain(&bytes).finish();
        for bit in 0..8 * bytes.len() {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(Fnv::default().chain(&damaged).finish(), clean, "bit {bit}");
        }
    }
}
