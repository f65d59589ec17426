//! Packing, unpacking and the checks of a packed matrix.

use proptest::prelude::*;
use tritburn_formats::matrix::{pack_codes, unpack_codes};
use tritburn_formats::quantize::quantize_weights;
use tritburn_formats::{MatrixError, PackedHeader, PackedMatrix, ScaleGranularity, WeightCode};

use crate::common::{CODES, SHAPES, granularities, layout, noise};

#[test]
fn input_k_sits_at_bit_two_k_of_its_word() {
    for (out, k) in [(1, 1), (2, 16), (3, 37)] {
        let layout = layout(out, k, WeightCode::Int2, ScaleGranularity::Tensor);
        let empty = vec![WeightCode::PADDING as u8; out * k];
        for at in 0..out * k {
            let mut codes = empty.clone();
            codes[at] = 3;
            let mut expected = vec![0x5555_5555u32; out * k.div_ceil(16)];
            let (row, col) = (at / k, at % k);
            expected[row * k.div_ceil(16) + col / 16] |= 3 << (2 * (col % 16));
            let what = format!("[{row}, {col}]");
            assert_eq!(
                pack_codes(&codes, &layout).as_ref(),
                Ok(&expected),
                "{what}"
            );
            assert_eq!(unpack_codes(&expected, &layout), Ok(codes), "{what}");
        }
    }
}

proptest! {
    #[test]
    fn unpack_undoes_pack(
        (out, k, codes) in (1usize..20, 1usize..70).prop_flat_map(|(out, k)| {
            (Just(out), Just(k), prop::collection::vec(0u8..4, out * k))
        })
    ) {
        let layout = layout(out, k, WeightCode::Int2, ScaleGranularity::Row);
        let words = pack_codes(&codes, &layout).expect("as many as the layout has");
        prop_assert_eq!(unpack_codes(&words, &layout), Ok(codes.clone()));
        let matrix = PackedMatrix::new(layout, words, vec![1.0; out]).expect("any int2 codes");
        prop_assert_eq!(matrix.codes(), codes.clone());
        for (i, &code) in codes.iter().enumerate() {
            prop_assert_eq!(matrix.code(i / k, i % k), Some(code as u32));
            prop_assert_eq!(matrix.value(i / k, i % k), Some(2 * code as i32 - 3));
        }
    }

    #[test]
    fn ternary_words_are_taken_exactly_if_no_real_field_is_three(
        k in 1usize..40,
        words in prop::collection::vec(any::<u32>(), 9),
    ) {
        let out = 3;
        let layout = layout(out, k, WeightCode::Ternary, ScaleGranularity::Tensor);
        let words = words[..layout.word_count()].to_vec();
        let codes = unpack_codes(&words, &layout).expect("as many as the layout has");
        let first = codes.iter().position(|&c| c == 3);
        let result = PackedMatrix::new(layout, words.clone(), vec![1.0]);
        match first {
            None => prop_assert_eq!(result.map(|m| m.into_parts().1), Ok(words)),
            Some(at) => prop_assert_eq!(result, Err(MatrixError::InvalidCode {
                row: at / k,
                col: at % k,
                code: 3,
                table: WeightCode::Ternary,
            })),
        }
    }
}

#[test]
fn surplus_bits_of_a_code_byte_are_dropped() {
    let layout = layout(1, 3, WeightCode::Int2, ScaleGranularity::Tensor);
    let words = pack_codes(&[0xfe, 0x04, 0xff], &layout).expect("three codes");
    assert_eq!(words, [0x5555_5572]);
}

#[test]
fn code_3_is_refused_in_real_columns_and_ignored_in_padding() {
    for k in [1, 15, 16, 17, 32, 50] {
        let layout = layout(4, k, WeightCode::Ternary, ScaleGranularity::Tensor);
        for col in 0..k.div_ceil(16) * 16 {
            let mut words = vec![0x5555_5555u32; layout.word_count()];
            words[2 * layout.words_per_row() + col / 16] |= 3 << (2 * (col % 16));
            let result = PackedMatrix::new(layout.clone(), words, vec![1.0]);
            if col < k {
                let expected = MatrixError::InvalidCode {
                    row: 2,
                    col,
                    code: 3,
                    table: WeightCode::Ternary,
                };
                assert_eq!(result, Err(expected), "{k} inputs");
            } else {
                let matrix = result.expect("padding means nothing");
                assert!(matrix.dequantize().iter().all(|&w| w == 0.0));
            }
        }
    }
}

#[test]
fn wrong_numbers_of_words_and_scales_are_refused() {
    let layout = layout(4, 20, WeightCode::Ternary, ScaleGranularity::Row);
    for (words, scales, what, found, expected) in [
        (7, 4, "packed words", 7, 8),
        (9, 4, "packed words", 9, 8),
        (8, 1, "scales", 1, 4),
        (8, 5, "scales", 5, 4),
    ] {
        let result = PackedMatrix::new(layout.clone(), vec![0; words], vec![1.0; scales]);
        let error = MatrixError::Length {
            what,
            found,
            expected,
        };
        assert_eq!(result, Err(error));
    }
}

#[test]
fn dequantised_weights_are_value_times_step() {
    for (out, k) in SHAPES {
        for code in CODES {
            for scale in granularities(out) {
                let layout = layout(out, k, code, scale);
                let matrix = quantize_weights(&noise(out * k, 3), &layout).expect("fits");
                for (i, w) in matrix.dequantize().into_iter().enumerate() {
                    let (row, col) = (i / k, i % k);
                    let scale = matrix.scales()[layout.scale().index(row, col, k)];
                    let value = matrix.value(row, col).expect("inside");
                    let expected = value as f32 * (code.unit() * scale);
                    assert_eq!(w.to_bits(), expected.to_bits(), "{layout:?} [{row}, {col}]");
                }
            }
        }
    }
}

#[test]
fn quantising_dequantised_int2_levels_gives_them_back() {
    let layout = layout(2, 4, WeightCode::Int2, ScaleGranularity::Tensor);
    let words = pack_codes(&[0, 1, 2, 3, 3, 2, 1, 0], &layout).expect("eight codes");
    let matrix = PackedMatrix::new(layout, words, vec![0.5]).expect("valid");
    let expected = [-0.75, -0.25, 0.25, 0.75, 0.75, 0.25, -0.25, -0.75];
    assert_eq!(matrix.dequantize(), expected);
}

#[test]
fn parts_come_out_as_they_went_in() {
    let layout = layout(3, 20, WeightCode::Ternary, ScaleGranularity::Row);
    let (words, scales) = (vec![0x5655_5555; 6], vec![1.0, 2.0, 3.0]);
    let matrix = PackedMatrix::new(layout.clone(), words.clone(), scales.clone()).expect("valid");
    assert_eq!(matrix.layout(), &layout);
    assert_eq!(matrix.header(), PackedHeader::new(layout.clone()));
    assert_eq!(matrix.words(), words);
    assert_eq!(matrix.scales(), scales);
    assert_eq!(matrix.into_parts(), (layout, words, scales));
}

#[test]
fn a_padding_column_is_outside_of_the_matrix() {
    let layout = layout(3, 20, WeightCode::Ternary, ScaleGranularity::Tensor);
    let matrix = quantize_weights(&noise(60, 4), &layout).expect("fits");
    assert!(matrix.code(2, 19).is_some());
    assert_eq!(matrix.code(0, 20), None);
    assert_eq!(matrix.value(3, 0), None);
}

#[test]
fn a_wrong_number_of_codes_or_words_is_refused() {
    let layout = layout(3, 20, WeightCode::Ternary, ScaleGranularity::Tensor);
    let length = |what, found, expected| MatrixError::Length {
        what,
        found,
        expected,
    };
    assert_eq!(pack_codes(&[1; 61], &layout), Err(length("codes", 61, 60)));
    let error = length("packed words", 5, 6);
    assert_eq!(unpack_codes(&[0; 5], &layout), Err(error));
}
