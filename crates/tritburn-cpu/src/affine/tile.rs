//! The loops over rows, tokens, groups and inputs, generic over the vector operations of a set.

use std::ops::Range;

use tritburn_formats::affine::{Bits, UNIT};

use super::activations::Activations;
use super::view::AffineView;
use crate::lm::vector;
use crate::parallel::OutPtr;

/// Weight rows of the tallest tile.
pub(super) const MAX_ROWS: usize = 4;

/// Inputs of a step: half a unit.
const STEP: usize = UNIT / 2;

/// One product `x[M, K] · W[N, K]ᵀ`, operands checked.
pub(super) struct AffineJob<'a> {
    x: &'a Activations,
    w: &'a AffineView<'a>,
    bias: Option<&'a [f32]>,
    y: OutPtr<f32>,
}

impl<'a> AffineJob<'a> {
    pub(super) fn new(
        x: &'a Activations,
        w: &'a AffineView<'a>,
        bias: Option<&'a [f32]>,
        y: OutPtr<f32>,
    ) -> Self {
        Self { x, w, bias, y }
    }
}

/// What products with affine weights add to the vector operations of an instruction set.
///
/// # Safety
/// Every function needs the instruction set, and pointers valid for what it reads.
pub(super) trait Lanes: vector::Lanes {
    /// Scale and zero point of a group, as the set uses them.
    type Group: Copy;
    /// Rows of a tile, 2 or 4.
    const ROWS: usize;
    /// Tokens of the widest tile, at most 4.
    const MAX_TOKENS: usize;

    /// Prepares a group of `BITS`-bit codes.
    unsafe fn group<const BITS: usize>(scale: f32, zero: f32) -> Self::Group;
    /// The weights of the 16 codes in `2 · BITS` bytes, lanes in the order of the activations.
    unsafe fn weights<const BITS: usize>(codes: *const u8, group: Self::Group) -> Self::V;
    /// The weights of 4-bit codes, lowest first, each in the lane of the next set bit of the 16 bits
    /// of `mask`; other lanes zero.
    unsafe fn kept(codes: u64, mask: u32, group: Self::Group) -> Self::V;
}

/// Computes the outputs of `rows` and `tokens`.
///
/// # Safety
/// The CPU has the instruction set of `L`, the operands of the job fit each other, `rows` and `tokens`
/// are inside the job, and nobody else writes their outputs.
#[inline(always)]
pub(super) unsafe fn run<L: Lanes>(job: &AffineJob<'_>, rows: Range<usize>, tokens: Range<usize>) {
    let layout = job.w.layout();
    // SAFETY: the caller's promise.
    unsafe {
        match (layout.bits(), layout.is_sparse()) {
            (Bits::Two, _) => rows_of::<L, 2, false>(job, rows, tokens),
            (Bits::Three, _) => rows_of::<L, 3, false>(job, rows, tokens),
            (Bits::Four, false) => rows_of::<L, 4, false>(job, rows, tokens),
            (Bits::Four, true) => rows_of::<L, 4, true>(job, rows, tokens),
        }
    }
}

#[inline(always)]
unsafe fn rows_of<L: Lanes, const BITS: usize, const SPARSE: bool>(
    job: &AffineJob<'_>,
    rows: Range<usize>,
    tokens: Range<usize>,
) {
    let groups = job.w.layout().groups_per_row();
    let mut scratch = Scratch::new(groups);
    let mut token = tokens.start;
    while token < tokens.end {
        let left = tokens.end - token;
        let width = left.div_ceil(left.div_ceil(L::MAX_TOKENS));
        let (rows, scratch) = (rows.clone(), &mut scratch);
        // Widths that a set never has are not compiled for it.
        // SAFETY: the caller's promise.
        unsafe {
            if L::MAX_TOKENS >= 4 && width == 4 {
                column::<L, BITS, SPARSE, 4>(job, rows, token, scratch);
            } else if L::MAX_TOKENS >= 3 && width == 3 {
                column::<L, BITS, SPARSE, 3>(job, rows, token, scratch);
            } else if L::MAX_TOKENS >= 2 && width == 2 {
                column::<L, BITS, SPARSE, 2>(job, rows, token, scratch);
            } else {
                column::<L, BITS, SPARSE, 1>(job, rows, token, scratch);
            }
        }
        token += width;
    }
}

/// Scales and zero points of the rows of a tile in f32, a row after the other.
struct Scratch {
    scales: Vec<f32>,
    zeros: Vec<f32>,
    groups: usize,
}

impl Scratch {
    fn new(groups: usize) -> Self {
        Self {
            scales: vec![0.0; MAX_ROWS * groups],
            zeros: vec![0.0; MAX_ROWS * groups],
            groups,
        }
    }

    fn read(&mut self, w: &AffineView<'_>, row: usize, rows: usize) {
        for r in 0..rows {
            let at = r * self.groups..(r + 1) * self.groups;
            w.read_groups(row + r, &mut self.scales[at.clone()], &mut self.zeros[at]);
        }
    }
}

/// All `rows` for `T` tokens.
#[inline(always)]
unsafe fn column<L: Lanes, const BITS: usize, const SPARSE: bool, const T: usize>(
    job: &AffineJob<'_>,
    rows: Range<usize>,
    token: usize,
    scratch: &mut Scratch,
) {
    let mut row = rows.start;
    while row < rows.end {
        let left = rows.end - row;
        let height = if L::ROWS == 4 && left >= 4 {
            4
        } else {
            left.min(2)
        };
        scratch.read(job.w, row, height);
        // SAFETY: the caller's promise.
        unsafe {
            if L::ROWS == 4 && height == 4 {
                tile::<L, BITS, SPARSE, 4, T>(job, row, token, scratch);
            } else if height == 2 {
                tile::<L, BITS, SPARSE, 2, T>(job, row, token, scratch);
            } else {
                tile::<L, BITS, SPARSE, 1, T>(job, row, token, scratch);
            }
        }
        row += height;
    }
}

/// `R` rows and `T` tokens.
#[inline(always)]
unsafe fn tile<L: Lanes, const BITS: usize, const SPARSE: bool, const R: usize, const T: usize>(
    job: &AffineJob<'_>,
    row: usize,
    token: usize,
    scratch: &Scratch,
) {
    let layout = job.w.layout();
    let (k, span) = (layout.in_features(), layout.span());
    let bytes_per_row = 4 * layout.words_per_row();
    let first_word = row * layout.words_per_row();
    // SAFETY: rows `row..row + R` and tokens `token..token + T` are inside the job; a row of
    // activations has whole units, as a row of codes and of masks does; steps begin before `k`.
    unsafe {
        let codes = job.w.words()[first_word..].as_ptr().cast::<u8>();
        let masks = match SPARSE {
            true => job.w.mask()[row * layout.units_per_row()..].as_ptr(),
            false => std::ptr::null(),
        };
        let x = job.x.row(token);
        let mut acc = [[L::splat(0.0); T]; R];
        let (mut first, mut group) = (0, 0);
        while first < k {
            let end = k.min(first + span);
            let mut groups = [L::group::<BITS>(0.0, 0.0); R];
            for r in 0..R {
                let at = r * scratch.groups + group;
                let (scale, zero) = (
                    *scratch.scales.get_unchecked(at),
                    *scratch.zeros.get_unchecked(at),
                );
                groups[r] = L::group::<BITS>(scale, zero);
            }
            let at = At {
                codes,
                bytes_per_row,
                masks,
                masks_per_row: layout.units_per_row(),
                x,
                stride: job.x.stride(),
            };
            let (mut step, last) = (first / STEP, end.div_ceil(STEP));
            // A sparse group is of whole units.
            while step + 2 <= last {
                steps::<L, BITS, SPARSE, R, T, 2>(&mut acc, at, step, groups);
                step += 2;
            }
            if step < last {
                steps::<L, BITS, SPARSE, R, T, 1>(&mut acc, at, step, groups);
            }
            (first, group) = (end, group + 1);
        }
        for r in 0..R {
            for t in 0..T {
                let bias = job.bias.map_or(0.0, |bias| bias[row + r]);
                let at = (token + t) * layout.out_features() + row + r;
                job.y.write(at, L::sum(acc[r][t]) + bias);
            }
        }
    }
}

/// Where the operands of a tile begin.
#[derive(Clone, Copy)]
struct At {
    codes: *const u8,
    bytes_per_row: usize,
    masks: *const u32,
    masks_per_row: usize,
    x: *const f32,
    stride: usize,
}

/// `acc[r][t] += W[r] · x[t]` over `COUNT` steps of one group, at most 2.
///
/// # Safety
/// As [`Lanes`]: the steps are inside the rows that `at` points to. Those of a sparse row are a unit.
#[inline(always)]
unsafe fn steps<
    L: Lanes,
    const BITS: usize,
    const SPARSE: bool,
    const R: usize,
    const T: usize,
    const COUNT: usize,
>(
    acc: &mut [[L::V; T]; R],
    at: At,
    first: usize,
    groups: [L::Group; R],
) {
    // SAFETY: the caller's promise.
    unsafe {
        // The same columns of the next tile.
        if T == 1 && first.is_multiple_of(8) {
            for r in 0..R {
                let ahead = (R + r) * at.bytes_per_row + first * 2 * BITS;
                L::prefetch(at.codes.wrapping_byte_add(ahead));
            }
        }
        for i in 0..COUNT {
            let step = first + i;
            let mut activations = [L::splat(0.0); T];
            for (t, activations) in activations.iter_mut().enumerate() {
                *activations = L::load(at.x.add(t * at.stride + step * STEP));
            }
            for r in 0..R {
                let codes = at.codes.add(r * at.bytes_per_row);
                let weights = match SPARSE {
                    false => L::weights::<BITS>(codes.add(step * 2 * BITS), groups[r]),
                    true => {
                        let unit = first / 2;
                        let mask = at.masks.add(r * at.masks_per_row + unit).read();
                        kept::<L>(codes.add(8 * unit), mask, i, groups[r])
                    }
                };
                for t in 0..T {
                    acc[r][t] = L::fma(weights, activations[t], acc[r][t]);
                }
            }
        }
    }
}

/// The weights of one half of a unit of a sparse row.
///
/// # Safety
/// As [`Lanes`]; `codes` is valid for eight bytes.
#[inline(always)]
unsafe fn kept<L: Lanes>(codes: *const u8, mask: u32, half: usize, group: L::Group) -> L::V {
    // SAFETY: the caller's promise.
    unsafe {
        let codes = u64::from_le(codes.cast::<u64>().read_unaligned());
        match half {
            0 => L::kept(codes, mask & 0xffff, group),
            _ => {
                // All 16 kept inputs may lie in the first half.
                let first_half = 4 * (mask & 0xffff).count_ones();
                L::kept(
                    codes.checked_shr(first_half).unwrap_or(0),
                    mask >> 16,
                    group,
                )
            }
        }
    }
}

/// Two words whose shifts give 16 codes: code `j` of the first eight is bits `BITS·j..` of the first
/// word, code `8 + j` is bits `BITS·j..` of the second word from bit `offset` on.
///
/// # Safety
/// `codes` is valid for `2 · BITS` bytes.
#[inline(always)]
pub(super) unsafe fn eights<const BITS: usize>(codes: *const u8) -> [u32; 2] {
    let second = if BITS == 2 { 0 } else { 2 * BITS - 4 };
    // SAFETY: the caller's promise; the second word ends with the codes.
    unsafe { [0, second].map(|at| u32::from_le(codes.add(at).cast::<u32>().read_unaligned())) }
}

/// First bit of code 8 in the second word of [`eights`].
pub(super) const fn offset(bits: usize) -> i32 {
    // Code 8 starts at bit 8·bits of the string, the second word at that of its first byte.
    match bits {
        2 => 16,
        3 => 8,
        _ => 0,
    }
}

/// [`Lanes::kept`] in plain code.
#[inline(always)]
pub(super) fn spread(mut codes: u64, mask: u32, [scale, zero]: [f32; 2]) -> [f32; 16] {
    std::array::from_fn(|lane| {
        if mask >> lane & 1 == 0 {
            return 0.0;
        }
        let code = (codes & 15) as f32;
        codes >>= 4;
        (code - zero) * scale
    })
}
