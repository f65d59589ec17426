//! Plain Rust, for any processor.

use tritburn_formats::codec::gguf::k_quant::KQuant;

use super::{BLOCK, GROUP, GROUPS, KQuantJob, MAX_TOKENS, value};

/// The integers of a block and its two factors.
struct Block {
    codes: [u8; BLOCK],
    scales: [i16; GROUPS],
    minima: [i16; GROUPS],
    factors: [f32; 2],
}

/// The outputs of a weight row and up to `MAX_TOKENS` tokens.
///
/// # Safety
/// Row and tokens are inside the job, and no other task writes these outputs.
pub(super) unsafe fn row(job: &KQuantJob<'_>, row: usize, token: usize, width: usize) {
    let kind = job.weights.kind;
    let mut logits = [0.0f32; MAX_TOKENS];
    let stored = job.weights.row(row).chunks_exact(kind.block_bytes());
    for (index, bytes) in stored.enumerate() {
        let block = Block::decode(kind, bytes);
        for (t, logit) in logits[..width].iter_mut().enumerate() {
            let sums = block.sums(job.tokens.bytes(token + t, index));
            *logit += value(kind, block.factors, sums);
        }
    }
    for (t, logit) in logits[..width].iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { job.store(token + t, row, *logit) };
    }
}

impl Block {
    fn decode(kind: KQuant, bytes: &[u8]) -> Self {
        let half = |at: usize| half::f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32();
        match kind {
            KQuant::Q6K => {
                let scales: [i16; GROUPS] =
                    std::array::from_fn(|j| i16::from(bytes[192 + j] as i8));
                Self {
                    codes: std::array::from_fn(|e| {
                        let (n, e) = (e / 128, e % 128);
                        let low = bytes[64 * n + e % 64] >> (4 * (e / 64)) & 15;
                        let high = bytes[128 + 32 * n + e % 32] >> (2 * (e / 32)) & 3;
                        low | high << 4
                    }),
                    scales,
                    // Codes are 32 larger than what they mean.
                    minima: scales.map(|scale| 32 * scale),
                    factors: [half(208); 2],
                }
            }
            KQuant::Q4K | KQuant::Q5K => {
                let [scales, minima] =
                    scales_and_minima(bytes[4..].first_chunk().expect("12 bytes"));
                let lower = if kind == KQuant::Q4K { 16 } else { 48 };
                Self {
                    codes: std::array::from_fn(|e| {
                        let low = bytes[lower + 32 * (e / 64) + e % 32] >> (4 * (e / 32 % 2)) & 15;
                        match kind {
                            KQuant::Q5K => low | (bytes[16 + e % 32] >> (e / 32) & 1) << 4,
                            _ => low,
                        }
                    }),
                    scales: std::array::from_fn(|group| scales[group / 2].into()),
                    minima: std::array::from_fn(|group| minima[group / 2].into()),
                    factors: [half(0), half(2)],
                }
            }
        }
    }

    /// `Σ scale · code · x` and `Σ minimum · x`.
    fn sums(&self, [high, low]: [&[i8]; 2]) -> [i64; 2] {
        let mut sums = [0; 2];
        for group in 0..GROUPS {
            let (mut products, mut plain) = (0i32, 0i32);
            for at in group * GROUP..(group + 1) * GROUP {
                let x = 256 * i32::from(high[at]) + i32::from(low[at]);
                products += i32::from(self.codes[at]) * x;
                plain += x;
            }
            sums[0] += i64::from(products) * i64::from(self.scales[group]);
            sums[1] += i64::from(plain) * i64::from(self.minima[group]);
        }
        sums
    }
}

/// Scales and minima of Q4_K and Q5_K, six bits each: those of the first four groups of 32 in the low bits of a byte,
/// the others in four bits of a third word and the high bits of the first two.
#[inline(always)]
pub(super) fn scales_and_minima(bytes: &[u8; 12]) -> [[u8; 8]; 2] {
    let (words, _) = bytes.as_chunks::<4>();
    let [first, second, third] = [words[0], words[1], words[2]].map(u32::from_le_bytes);
    let joined = |low: u32, high: u32| (u64::from(low) | (u64::from(high) << 32)).to_le_bytes();
    let upper = |word: u32| (word >> 2) & 0x3030_3030;
    [
        joined(first & 0x3f3f_3f3f, (third & 0x0f0f_0f0f) | upper(first)),
        joined(
            second & 0x3f3f_3f3f,
            ((third >> 4) & 0x0f0f_0f0f) | upper(second),
        ),
    ]
}
