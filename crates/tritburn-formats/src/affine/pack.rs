//! Codes, a byte each, to words and back.

use rayon::prelude::*;

use super::bits::UNIT;
use super::layout::AffineLayout;
use crate::error::{MatrixError, check_length};

/// Inputs kept of a unit of a sparse matrix.
const KEPT: u32 = 16;

/// Packs codes, row-major `[out, in]` with one byte each in the order of the stored columns, into
/// the words of a layout. `mask` is `[out, in / 32]` for a sparse layout, whose dropped codes are
/// not looked at, and empty for a dense one.
///
/// # Errors
/// [`MatrixError::Length`], [`MatrixError::CodeRange`] for the first code that is too large,
/// [`MatrixError::Kept`] for the first mask without exactly 16 bits.
///
/// # Examples
///
/// ```
/// use tritburn_formats::affine::{AffineLayout, Bits, pack_affine_codes};
///
/// // Codes 10 and 21 of a unit of 3-bit codes lie across two words.
/// let layout = AffineLayout::new([1, 32], Bits::Three, None)?;
/// let mut codes = [0; 32];
/// (codes[10], codes[21]) = (0b110, 0b011);
/// assert_eq!(pack_affine_codes(&codes, &[], &layout)?, [0b10 << 30, 0b1 | 0b1 << 31, 0b01]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn pack_affine_codes(
    codes: &[u8],
    mask: &[u32],
    layout: &AffineLayout,
) -> Result<Vec<u32>, MatrixError> {
    check_length("codes", codes.len(), layout.weight_count())?;
    check_length("mask", mask.len(), layout.mask_count())?;
    refuse_wrong_masks(mask, layout.units_per_row())?;
    let (k, max) = (layout.in_features(), layout.bits().max_code());
    let too_large = |at: &usize| {
        let dropped = layout.is_sparse() && mask[at / UNIT] >> (at % UNIT) & 1 == 0;
        codes[*at] > max && !dropped
    };
    let all = (0..codes.len()).into_par_iter().with_min_len(1 << 14);
    if let Some(at) = all.find_first(too_large) {
        return Err(MatrixError::CodeRange {
            row: at / k,
            col: at % k,
            code: codes[at],
            max,
        });
    }
    let mut words = vec![0; layout.word_count()];
    words
        .par_chunks_mut(layout.words_per_row())
        .zip(codes.par_chunks(k))
        .enumerate()
        .for_each(|(row, (words, codes))| match layout.is_sparse() {
            false => layout.bits().pack(codes, words),
            true => pack_kept(codes, row_of(mask, row, layout), words),
        });
    Ok(words)
}

/// The inverse of [`pack_affine_codes`]; dropped codes are 0. The parts fit the layout.
pub(super) fn unpack_codes(words: &[u32], mask: &[u32], layout: &AffineLayout) -> Vec<u8> {
    let mut codes = vec![0; layout.weight_count()];
    codes
        .par_chunks_mut(layout.in_features())
        .enumerate()
        .for_each(|(row, codes)| unpack_row(words, mask, layout, row, codes));
    codes
}

/// Codes `[in]` of one row; dropped ones are 0.
pub(super) fn unpack_row(
    words: &[u32],
    mask: &[u32],
    layout: &AffineLayout,
    row: usize,
    codes: &mut [u8],
) {
    let per_row = layout.words_per_row();
    let words = &words[row * per_row..][..per_row];
    match layout.is_sparse() {
        false => layout.bits().unpack(words, codes),
        true => unpack_kept(words, row_of(mask, row, layout), codes),
    }
}

fn row_of<'a>(mask: &'a [u32], row: usize, layout: &AffineLayout) -> &'a [u32] {
    let units = layout.units_per_row();
    &mask[row * units..][..units]
}

fn pack_kept(codes: &[u8], masks: &[u32], words: &mut [u32]) {
    let (pairs, _) = words.as_chunks_mut::<2>();
    for ((codes, &mask), words) in codes.chunks(UNIT).zip(masks).zip(pairs) {
        let (mut kept, mut rank) = (0, 0);
        for_each_kept(mask, |l| {
            kept |= u64::from(codes[l]) << rank;
            rank += 4;
        });
        *words = [kept as u32, (kept >> 32) as u32];
    }
}

fn unpack_kept(words: &[u32], masks: &[u32], codes: &mut [u8]) {
    let (pairs, _) = words.as_chunks::<2>();
    for ((codes, &mask), [low, high]) in codes.chunks_mut(UNIT).zip(masks).zip(pairs) {
        let mut kept = u64::from(*low) | u64::from(*high) << 32;
        codes.fill(0);
        for_each_kept(mask, |l| {
            codes[l] = kept as u8 & 15;
            kept >>= 4;
        });
    }
}

/// Visits the set bits of a mask, lowest first.
pub(crate) fn for_each_kept(mut mask: u32, mut visit: impl FnMut(usize)) {
    while mask != 0 {
        visit(mask.trailing_zeros() as usize);
        mask &= mask - 1;
    }
}

/// Refuses masks `[out, units]` that do not keep 16 of 32.
pub(crate) fn refuse_wrong_masks(mask: &[u32], units: usize) -> Result<(), MatrixError> {
    let wrong = mask.par_iter().with_min_len(1 << 12);
    match wrong.position_first(|m| m.count_ones() != KEPT) {
        None => Ok(()),
        Some(at) => Err(MatrixError::Kept {
            row: at / units,
            unit: at % units,
            kept: mask[at].count_ones(),
        }),
    }
}
