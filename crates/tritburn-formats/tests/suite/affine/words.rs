//! Where the bits of a code stand.

use tritburn_formats::affine::{AffineLayout, Bits, pack_affine_codes};
use tritburn_formats::matrix::pack_codes;
use tritburn_formats::{
    LayoutError, MatrixError, PackedLayout, PackedMatrix, ScaleGranularity, WeightCode,
};

use super::{SHAPES, layouts, random_codes, random_masks, random_matrix};

fn layout(shape: [usize; 2], bits: Bits) -> AffineLayout {
    AffineLayout::new(shape, bits, None).expect("a valid layout")
}

/// Bit `at` of the bit string that a row of words is.
fn bit(words: &[u32], at: usize) -> u32 {
    words[at / 32] >> (at % 32) & 1
}

#[test]
fn a_row_is_one_bit_string_and_padding_is_zero() {
    for [out, k] in SHAPES {
        for bits in Bits::ALL {
            let layout = layout([out, k], bits);
            let b = bits.count();
            assert_eq!(layout.words_per_row(), b * k.div_ceil(32));
            let codes = random_codes(&layout, 7);
            let words = pack_affine_codes(&codes, &[], &layout).expect("codes that fit");
            for (words, codes) in words.chunks(layout.words_per_row()).zip(codes.chunks(k)) {
                for at in 0..32 * words.len() {
                    let code = codes.get(at / b).copied().unwrap_or(0);
                    let expected = u32::from(code >> (at % b) & 1);
                    assert_eq!(bit(words, at), expected, "{bits:?} [{out}, {k}] bit {at}");
                }
            }
        }
    }
}

#[test]
fn three_bit_codes_10_and_21_lie_across_words() {
    let layout = layout([1, 64], Bits::Three);
    let one = |column: usize| {
        let mut codes = [0; 64];
        codes[column] = 7;
        pack_affine_codes(&codes, &[], &layout).expect("codes that fit")
    };
    assert_eq!(one(9), [0b111 << 27, 0, 0, 0, 0, 0]);
    assert_eq!(one(10), [0b11 << 30, 0b1, 0, 0, 0, 0]);
    assert_eq!(one(11), [0, 0b111 << 1, 0, 0, 0, 0]);
    assert_eq!(one(20), [0, 0b111 << 28, 0, 0, 0, 0]);
    assert_eq!(one(21), [0, 0b1 << 31, 0b11, 0, 0, 0]);
    assert_eq!(one(31), [0, 0, 0b111 << 29, 0, 0, 0]);
    assert_eq!(one(32), [0, 0, 0, 0b111, 0, 0]);
    assert_eq!(one(42), [0, 0, 0, 0b11 << 30, 0b1, 0]);
}

#[test]
fn two_bit_words_are_those_of_packed_matrices() {
    let affine = layout([5, 96], Bits::Two);
    let packed = PackedLayout::new(5, 96, WeightCode::Int2, ScaleGranularity::Row).unwrap();
    let codes = random_codes(&affine, 3);
    let words = pack_affine_codes(&codes, &[], &affine).unwrap();
    assert_eq!(words, pack_codes(&codes, &packed).unwrap());
    PackedMatrix::new(packed, words, vec![1.0; 5]).unwrap();
}

#[test]
fn kept_codes_lie_in_the_order_of_their_inputs() {
    let layout = layout([3, 96], Bits::Four).sparse().expect("whole units");
    assert_eq!((layout.word_count(), layout.mask_count()), (18, 9));
    let mask = random_masks(9, 5);
    // Dropped codes are not looked at.
    let mut codes = random_codes(&layout, 6);
    for (i, code) in codes.iter_mut().enumerate() {
        if mask[i / 32] >> (i % 32) & 1 == 0 {
            *code = 255;
        }
    }
    let words = pack_affine_codes(&codes, &mask, &layout).expect("codes that fit");
    for (unit, mask) in mask.iter().enumerate() {
        let mut rank = 0;
        for l in (0..32).filter(|l| mask >> l & 1 == 1) {
            let stored = words[2 * unit + rank / 8] >> (4 * (rank % 8)) & 15;
            assert_eq!(
                stored,
                u32::from(codes[32 * unit + l]),
                "unit {unit}, input {l}"
            );
            rank += 1;
        }
        assert_eq!(rank, 16);
    }
}

#[test]
fn codes_come_back_from_every_layout() {
    for shape in SHAPES {
        for layout in layouts(shape) {
            let matrix = random_matrix(layout.clone(), 11);
            let codes = matrix.codes();
            assert_eq!(codes.len(), layout.weight_count());
            let again = pack_affine_codes(&codes, matrix.mask(), &layout);
            assert_eq!(again.as_deref(), Ok(matrix.words()), "{layout:?}");
        }
    }
}

#[test]
fn wrong_codes_and_masks_are_refused() {
    let dense = layout([2, 33], Bits::Three);
    let mut codes = vec![7; 66];
    assert!(pack_affine_codes(&codes, &[], &dense).is_ok());
    codes[34] = 8;
    let (row, col, code, max) = (1, 1, 8, 7);
    assert_eq!(
        pack_affine_codes(&codes, &[], &dense),
        Err(MatrixError::CodeRange {
            row,
            col,
            code,
            max
        })
    );
    let length = |what, found, expected| MatrixError::Length {
        what,
        found,
        expected,
    };
    assert_eq!(
        pack_affine_codes(&codes[1..], &[], &dense),
        Err(length("codes", 65, 66))
    );
    assert_eq!(
        pack_affine_codes(&codes, &[0xffff], &dense),
        Err(length("mask", 1, 0))
    );
    let sparse = layout([2, 64], Bits::Four).sparse().expect("whole units");
    for kept in [15, 17] {
        let mask = [0xffff, 0xffff, 0xffff, (1 << kept) - 1];
        let (row, unit) = (1, 1);
        assert_eq!(
            pack_affine_codes(&[0; 128], &mask, &sparse),
            Err(MatrixError::Kept { row, unit, kept })
        );
    }
}

#[test]
fn layouts_that_no_matrix_has_are_refused() {
    let new = AffineLayout::new;
    for (out, k) in [(0, 1), (1, 0)] {
        assert!(matches!(
            new([out, k], Bits::Two, None),
            Err(LayoutError::Empty { .. })
        ));
    }
    for size in [0, 8, 24, 17, 1 << 33] {
        let error = Err(LayoutError::GroupSize { size });
        assert_eq!(new([4, 64], Bits::Two, Some(size)), error);
    }
    for (bits, max) in [
        (Bits::Two, 5_592_405),
        (Bits::Three, 2_396_745),
        (Bits::Four, 1_118_481),
    ] {
        assert!(new([1, max], bits, None).is_ok());
        let in_features = max + 1;
        let error = Err(LayoutError::InFeatures { in_features, max });
        assert_eq!(new([1, max + 1], bits, None), error);
    }
    // 2^32 - 4 words, then 2^32.
    assert!(new([(1 << 30) - 1, 32], Bits::Four, None).is_ok());
    assert!(matches!(
        new([1 << 30, 32], Bits::Four, None),
        Err(LayoutError::TooLarge { .. })
    ));
    assert!(new([usize::MAX, 64], Bits::Four, None).is_err());
    let sparse = |k, bits, group| new([2, k], bits, group).expect("valid").sparse();
    assert!(sparse(64, Bits::Four, Some(32)).is_ok());
    for (in_features, bits, group_size) in [
        (64, Bits::Three, None),
        (48, Bits::Four, None),
        (64, Bits::Four, Some(16)),
        (64, Bits::Four, Some(48)),
    ] {
        let error = Err(LayoutError::Sparse {
            bits: bits.count(),
            in_features,
            group_size,
        });
        assert_eq!(sparse(in_features, bits, group_size), error);
    }
}
