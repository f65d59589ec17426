//! Words of 2-bit fields, all fields at once.

/// Low bit of every field.
const LOW: u32 = 0x5555_5555;

/// Eight 2-bit fields, one in the low bits of each byte, side by side in 16 bits. The other bits
/// of the bytes must be 0.
#[inline(always)]
pub(crate) fn gather_fields(bytes: u64) -> u32 {
    let x = (bytes | bytes >> 6) & 0x000f_000f_000f_000f;
    let x = (x | x >> 12) & 0x0000_00ff_0000_00ff;
    (x | x >> 24) as u32 & 0xffff
}

/// The inverse of [`gather_fields`]: the low 16 bits of `fields` to two bits a byte.
#[inline(always)]
pub(crate) fn spread_fields(fields: u32) -> u64 {
    let x = u64::from(fields & 0xffff);
    let x = (x | x << 24) & 0x0000_00ff_0000_00ff;
    let x = (x | x << 12) & 0x000f_000f_000f_000f;
    (x | x << 6) & 0x0303_0303_0303_0303
}

/// Bit 2i is set where field i is 3.
#[inline(always)]
pub(crate) fn threes(word: u32) -> u32 {
    word & word >> 1 & LOW
}

/// Every field plus 1, modulo 4.
#[inline(always)]
pub(crate) fn plus_one(word: u32) -> u32 {
    word ^ (word & LOW) << 1 ^ LOW
}

/// Every field minus 1, modulo 4.
#[inline(always)]
pub(crate) fn minus_one(word: u32) -> u32 {
    word ^ (!word & LOW) << 1 ^ LOW
}

/// Field `4i + j` to place `4j + i`: the 16 fields as a 4×4 matrix, transposed.
#[inline(always)]
pub(crate) fn transpose_fields(word: u32) -> u32 {
    // Exchanges the fields under `mask` with those `distance` bits higher.
    let swap = |word: u32, mask: u32, distance: u32| {
        let moved = (word ^ word >> distance) & mask;
        word ^ moved ^ moved << distance
    };
    // Index bits 0 and 2 change places, then bits 1 and 3.
    swap(swap(word, 0x00cc_00cc, 6), 0x0000_f0f0, 12)
}

/// The four fields of each byte in reverse order.
#[inline(always)]
pub(crate) fn reverse_fields_of_bytes(word: u32) -> u32 {
    let x = word >> 4 & 0x0f0f_0f0f | (word & 0x0f0f_0f0f) << 4;
    x >> 2 & 0x3333_3333 | (x & 0x3333_3333) << 2
}

/// Codes `w + 1` to and from 0 as 0, +1 as 1, -1 as 2.
pub(crate) mod sign_magnitude {
    use super::LOW;

    /// Fields 0, 1, 2 to 1, 2, 0; 3 stays.
    #[inline(always)]
    pub(crate) fn decode(word: u32) -> u32 {
        let (low, high) = (word & LOW, word >> 1 & LOW);
        (low ^ high ^ LOW) | low << 1
    }

    /// Fields 0, 1, 2 to 2, 0, 1.
    #[inline(always)]
    pub(crate) fn encode(word: u32) -> u32 {
        let (low, high) = (word & LOW, word >> 1 & LOW);
        high | ((low | high) ^ LOW) << 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(word: u32, index: usize) -> u32 {
        word >> (2 * index) & 3
    }

    #[test]
    fn every_field_goes_where_it_should() {
        for word in [0x0123_4567, 0x89ab_cdef, 0xfedc_1b1b, 0xe4b1_c639] {
            let spread = [spread_fields(word), spread_fields(word >> 16)];
            let gathered = spread.map(gather_fields);
            assert_eq!(gathered[0] | gathered[1] << 16, word);
            for i in 0..16 {
                let f = field(word, i);
                assert_eq!(spread[i / 8] >> (8 * (i % 8)) & 0xff, u64::from(f));
                assert_eq!(field(plus_one(word), i), (f + 1) % 4);
                assert_eq!(field(minus_one(word), i), (f + 3) % 4);
                let decoded = field(sign_magnitude::decode(word), i);
                assert_eq!(decoded, [1, 2, 0, 3][f as usize]);
                if f < 3 {
                    assert_eq!(
                        field(sign_magnitude::encode(word), i),
                        [2, 0, 1][f as usize]
                    );
                }
                assert_eq!(field(transpose_fields(word), 4 * (i % 4) + i / 4), f);
                let mirrored = 4 * (i / 4) + 3 - i % 4;
                assert_eq!(field(reverse_fields_of_bytes(word), mirrored), f);
                assert_eq!(threes(word) >> (2 * i) & 3, u32::from(f == 3));
            }
        }
    }
}
