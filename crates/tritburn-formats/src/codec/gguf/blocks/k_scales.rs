//! Scales of sub-blocks in six bits, 12 bytes of them.

use half::f16;

use super::fit::asymmetric;
use super::{LARGE, half_at};

/// The factor of the codes, and what is taken from the products, of each sub-block in Q4_K and Q5_K: both
/// begin with f16 d, f16 dmin and the bytes of [`scale_and_min`].
#[inline(always)]
pub(super) fn factors_and_minima<const N: usize>(block: &[u8; N]) -> [(f32, f32); 8] {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    let mut scales = [0; 12];
    scales.copy_from_slice(&block[4..16]);
    std::array::from_fn(|j| {
        let (scale, min) = scale_and_min(&scales, j);
        (d * f32::from(scale), dmin * f32::from(min))
    })
}

/// Scale and minimum of sub-block `j < 8` in Q4_K and Q5_K. Those of the first four are the low six
/// bits of bytes `j` and `j + 4`; the others have their low four bits in byte `j + 4`, scale first,
/// and their high two in the high bits of bytes `j - 4` and `j`.
#[inline(always)]
fn scale_and_min(bytes: &[u8; 12], j: usize) -> (u8, u8) {
    match j {
        0..4 => (bytes[j] & 63, bytes[j + 4] & 63),
        _ => (
            bytes[j + 4] & 15 | bytes[j - 4] >> 6 << 4,
            bytes[j + 4] >> 4 | bytes[j] >> 6 << 4,
        ),
    }
}

/// Writes `scale_and_min` of sub-block `j`, both below 64, over zeros.
#[inline(always)]
fn set_scale_and_min(bytes: &mut [u8], j: usize, scale: u8, min: u8) {
    if j < 4 {
        bytes[j] |= scale;
        bytes[j + 4] |= min;
    } else {
        bytes[j + 4] = scale & 15 | min << 4;
        bytes[j - 4] |= scale >> 4 << 6;
        bytes[j] |= min >> 4 << 6;
    }
}

/// Writes the beginning that Q4_K and Q5_K have in common over zeros: f16 d, f16 dmin, scales and minima. `set` then
/// gets the block, the sub-block, the value in it and its code, 0 to `top`.
#[inline(always)]
pub(super) fn quantize_groups<const N: usize>(
    values: &[f32; LARGE],
    top: f32,
    block: &mut [u8; N],
    set: impl Fn(&mut [u8; N], usize, usize, u8),
) {
    let (groups, _) = values.as_chunks::<32>();
    let mut fits = [(0.0f32, 0.0f32); 8];
    let (mut scale, mut min) = (0.0f32, 0.0f32);
    for (fit, group) in fits.iter_mut().zip(groups) {
        *fit = asymmetric(group, top);
        scale = scale.max(fit.0);
        min = min.max(fit.1);
    }
    block[..2].copy_from_slice(&f16::from_f32(scale / 63.0).to_le_bytes());
    block[2..4].copy_from_slice(&f16::from_f32(min / 63.0).to_le_bytes());
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    let code = |value: f32, unit: f32| match unit == 0.0 {
        true => 0,
        false => (value / unit).round_ties_even().min(63.0) as u8,
    };
    for (j, (scale, min)) in fits.into_iter().enumerate() {
        set_scale_and_min(&mut block[4..16], j, code(scale, d), code(min, dmin));
    }
    // The codes are those of the scales as they are stored.
    let factors = factors_and_minima(block);
    for (j, (group, (d, min))) in groups.iter().zip(factors).enumerate() {
        for (i, &x) in group.iter().enumerate() {
            let q = match d == 0.0 {
                true => 0.0,
                false => ((x + min) / d).round_ties_even().max(0.0).min(top),
            };
            set(block, j, i, q as u8);
        }
    }
}

/// Scale of sub-block `j < 16` in Q3_K, -32 to 31. Its low four bits are a half of byte `j % 8`, the
/// low half first; its high two are in byte `8 + j % 4` at bit `2·(j / 4)`.
#[inline(always)]
pub(super) fn signed_scale(bytes: &[u8; 12], j: usize) -> i8 {
    let low = bytes[j % 8] >> (4 * (j / 8)) & 15;
    let high = bytes[8 + j % 4] >> (2 * (j / 4)) & 3;
    (low | high << 4) as i8 - 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_and_minima_are_read_as_they_are_written() {
        for first in 0..64u8 {
            let mut bytes = [0; 12];
            let pair = |j: usize| ((first + 7 * j as u8) & 63, (63 - first + 11 * j as u8) & 63);
            for j in 0..8 {
                set_scale_and_min(&mut bytes, j, pair(j).0, pair(j).1);
            }
            for j in 0..8 {
                assert_eq!(scale_and_min(&bytes, j), pair(j));
            }
        }
    }

    #[test]
    fn every_bit_has_one_place() {
        // Each of the 96 bits belongs to one scale or minimum, and to one bit of it.
        let mut seen = [[0u32; 6]; 16];
        let mut signed = [[0u32; 6]; 16];
        let count = |counts: &mut [u32; 6], value: u8| {
            let bits = counts.iter_mut().enumerate();
            bits.for_each(|(i, count)| *count += u32::from(value >> i & 1));
        };
        for bit in 0..96 {
            let mut bytes = [0; 12];
            bytes[bit / 8] = 1 << (bit % 8);
            for j in 0..8 {
                let (scale, min) = scale_and_min(&bytes, j);
                count(&mut seen[j], scale);
                count(&mut seen[8 + j], min);
            }
            for (j, counts) in signed.iter_mut().enumerate() {
                count(counts, (signed_scale(&bytes, j) + 32) as u8);
            }
        }
        assert_eq!(seen, [[1; 6]; 16]);
        assert_eq!(signed, [[1; 6]; 16]);
    }
}
