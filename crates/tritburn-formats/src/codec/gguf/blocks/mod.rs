//! Float values of GGUF's block types, for tables and heads that stand beside ternary weights.
//!
//! Layouts and arithmetic are those of ggml (`ggml-common.h`, `ggml-quants.c`): a block holds
//! consecutive values of a row, one or two f16 scales and, in the K types, scales of sub-blocks in
//! few bits. Every operation is one f32 operation, in ggml's order, so the values are ggml's to the
//! bit. All numbers are little-endian. There is no code without a meaning; an f16 scale that is NaN
//! or infinite gives values that are.
//!
//! | kind | values | bytes | value |
//! |---|---|---|---|
//! | Q4_0, Q5_0, Q8_0 | 32 | 18, 22, 34 | `d · q`, q from -8, -16, -128 |
//! | Q4_1, Q5_1 | 32 | 20, 24 | `d · q + m` |
//! | Q2_K, Q4_K, Q5_K | 256 | 84, 144, 176 | `(d · sc) · q - (dmin · m)` of each 16, 32, 32 |
//! | Q3_K, Q6_K | 256 | 110, 210 | `(d · sc) · q` of each 16 |
//! | TQ1_0, TQ2_0 | 256 | 54, 66 | `d · q`, q of -1, 0, +1 |
//! | Q2_0, PQ2_0 | 64 or 128 | 18 or 34 | `d · q`, q of -1 to 2 |

mod fit;
mod k_scales;
mod q2_0;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;

use half::f16;
use rayon::prelude::*;

use super::k_quant::KQuant;
use super::{tq1_0, tq2_0};
use crate::codec::{CodecError, check};
use crate::file::gguf::GgmlType;
use crate::matrix::PackedMatrix;
use crate::simd::multiversion;

/// Values of a block of the types without K.
const SMALL: usize = 32;

/// Values of a block of the K types.
const LARGE: usize = 256;

/// Values to a task.
const TASK: usize = 1 << 16;

/// Whether [`dequantize`] knows `kind`.
pub fn can_dequantize(kind: GgmlType) -> bool {
    matches!(
        kind,
        GgmlType::Q4_0
            | GgmlType::Q4_1
            | GgmlType::Q5_0
            | GgmlType::Q5_1
            | GgmlType::Q8_0
            | GgmlType::Q2K
            | GgmlType::Q3K
            | GgmlType::Q4K
            | GgmlType::Q5K
            | GgmlType::Q6K
            | GgmlType::Tq1_0
            | GgmlType::Tq2_0
            | GgmlType::Q2_0
            | GgmlType::Q2_0G128
            | GgmlType::Pq2_0
    )
}

/// Values of whole blocks as f32: a row, some rows or a whole tensor, since every row is whole
/// blocks. `out.len()` values are read from exactly as many bytes as they take.
///
/// # Errors
/// [`CodecError::Type`] for a type that is not in the table [above](self), [`CodecError::Multiple`]
/// if `out` is not whole blocks, [`CodecError::Length`] for a wrong number of bytes. TQ1_0 and TQ2_0
/// are checked as their own decoders check them: [`CodecError::InvalidByte`],
/// [`CodecError::InvalidCode`] (with rows of one block), [`CodecError::BadScale`],
/// [`CodecError::Layout`].
///
/// # Examples
///
/// ```
/// use tritburn_formats::codec::gguf::blocks::dequantize;
/// use tritburn_formats::file::gguf::GgmlType;
///
/// // Q8_0: a scale of 0.5, then 32 signed bytes.
/// let mut block = [0; 34];
/// block[..4].copy_from_slice(&[0x00, 0x38, 3, 0xff]);
/// let mut values = [0.0; 32];
/// dequantize(GgmlType::Q8_0, &block, &mut values)?;
/// assert_eq!(values[..3], [1.5, -0.5, 0.0]);
/// assert!(dequantize(GgmlType::Q8_0, &block[1..], &mut values).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn dequantize(kind: GgmlType, bytes: &[u8], out: &mut [f32]) -> Result<(), CodecError> {
    let (values, block_bytes) = match kind.block() {
        Some(block) if can_dequantize(kind) => block,
        _ => return Err(CodecError::Type { kind }),
    };
    let format = kind.name();
    check::multiple(format, "the number of values", out.len(), values)?;
    let blocks = out.len() / values;
    check::length(format, "bytes", bytes.len(), blocks, block_bytes)?;
    if blocks == 0 {
        return Ok(());
    }
    match kind {
        GgmlType::Q4_0 => each(bytes, out, q4_0::block),
        GgmlType::Q4_1 => each(bytes, out, q4_1::block),
        GgmlType::Q5_0 => each(bytes, out, q5_0::block),
        GgmlType::Q5_1 => each(bytes, out, q5_1::block),
        GgmlType::Q8_0 => each(bytes, out, q8_0::block),
        GgmlType::Q2K => each(bytes, out, q2_k::block),
        GgmlType::Q3K => each(bytes, out, q3_k::block),
        GgmlType::Q4K => each(bytes, out, q4_k::block),
        GgmlType::Q5K => each(bytes, out, q5_k::block),
        GgmlType::Q6K => each(bytes, out, q6_k::block),
        GgmlType::Tq1_0 => copy(&tq1_0::decode_groups(bytes, blocks, values)?, out),
        GgmlType::Tq2_0 => copy(&tq2_0::decode_groups(bytes, blocks, values)?, out),
        GgmlType::Q2_0 => each::<18, 64>(bytes, out, q2_0::block),
        _ => each::<34, 128>(bytes, out, q2_0::block),
    }
    Ok(())
}

/// The values of one block.
///
/// # Panics
/// If `bytes` are not one block of the kind.
pub(super) fn dequantize_block(kind: KQuant, bytes: &[u8], out: &mut [f32; LARGE]) {
    fn block<const N: usize>(bytes: &[u8]) -> &[u8; N] {
        bytes.try_into().expect("one block")
    }
    match kind {
        KQuant::Q4K => q4_k::block(block(bytes), out),
        KQuant::Q5K => q5_k::block(block(bytes), out),
        KQuant::Q6K => q6_k::block(block(bytes), out),
    }
}

/// Values as blocks of Q4_K, Q5_K or Q6_K with scales by least squares, of one `LARGE` after the other.
/// The values are finite and whole blocks, the kind is one of these.
pub(super) fn quantize(kind: KQuant, values: &[f32]) -> Vec<u8> {
    match kind {
        KQuant::Q4K => make(values, quantize_q4_k),
        KQuant::Q5K => make(values, quantize_q5_k),
        KQuant::Q6K => make(values, quantize_q6_k),
    }
}

fn make<const BYTES: usize>(
    values: &[f32],
    block: impl Fn(&[f32; LARGE]) -> [u8; BYTES] + Sync,
) -> Vec<u8> {
    let (blocks, _) = values.as_chunks::<LARGE>();
    let mut bytes = vec![0; blocks.len() * BYTES];
    let (out, _) = bytes.as_chunks_mut::<BYTES>();
    out.par_iter_mut()
        .with_min_len(TASK / 8 / LARGE)
        .zip(blocks)
        .for_each(|(out, values)| *out = block(values));
    bytes
}

multiversion! {
    fn quantize_q4_k(values: &[f32; LARGE]) -> [u8; 144] = q4_k::quantize;
}

multiversion! {
    fn quantize_q5_k(values: &[f32; LARGE]) -> [u8; 176] = q5_k::quantize;
}

multiversion! {
    fn quantize_q6_k(values: &[f32; LARGE]) -> [u8; 210] = q6_k::quantize;
}

/// `block` for every block. The lengths are checked.
fn each<const BYTES: usize, const VALUES: usize>(
    bytes: &[u8],
    out: &mut [f32],
    block: impl Fn(&[u8; BYTES], &mut [f32; VALUES]) + Sync,
) {
    let (blocks, _) = bytes.as_chunks::<BYTES>();
    let (values, _) = out.as_chunks_mut::<VALUES>();
    values
        .par_iter_mut()
        .with_min_len(TASK / VALUES)
        .zip(blocks)
        .for_each(|(values, bytes)| block(bytes, values));
}

fn copy(matrix: &PackedMatrix, out: &mut [f32]) {
    out.copy_from_slice(&matrix.dequantize());
}

/// The f16 at byte `at` of a block.
#[inline(always)]
fn half_at<const N: usize>(block: &[u8; N], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// The u32 at byte `at` of a block.
#[inline(always)]
fn word_at<const N: usize>(block: &[u8; N], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}
