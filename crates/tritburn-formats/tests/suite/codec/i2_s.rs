//! GGUF I2_S, against microsoft/BitNet's converters and its C quantiser (`data/README.md`).

use proptest::prelude::*;
use tritburn_formats::ScaleGranularity::{Row, Tensor};
use tritburn_formats::codec::CodecError;
use tritburn_formats::codec::gguf::i2_s::{self, TAIL_BYTES, Variant};

use crate::common::arbitrary::{same, size, ternary};
use crate::common::golden::{Golden, bits, matrix, shape};

const FILE: &[u8] = include_bytes!("../../data/gguf_i2_s.safetensors");
const FORMAT: &str = "GGUF I2_S";
const VARIANTS: [Variant; 4] = Variant::ALL;

#[test]
fn golden_bytes_both_ways() {
    let golden = Golden::open(FILE);
    let mut variants = 0;
    for case in golden.cases() {
        let (name, out, k) = shape(case);
        let weights: Vec<i8> = golden.tensor(&format!("{name}.ternary"));
        let gamma = f32::from_bits(bits(&case["scale_bits"]));
        let expected = matrix(&weights, out, k, Tensor, &[gamma]);
        let tensor: Vec<u8> = golden.tensor(&format!("{name}.tensor"));
        assert_eq!(
            i2_s::decode(&tensor, out, k),
            Ok(expected.clone()),
            "{name}"
        );
        assert_eq!(i2_s::encode(&expected), Ok(tensor.clone()), "{name}");
        for (variant, field) in [
            (Variant::Block128, "x86_act_parallel"),
            (Variant::Neon64, "arm_neon_64"),
            (Variant::FourRows, "x86_weight_parallel_1x4"),
        ] {
            let field = format!("{name}.c_variants.{field}_codes");
            if !golden.has(&field) {
                continue;
            }
            let mut bytes: Vec<u8> = golden.tensor(&field);
            bytes.extend(&tensor[tensor.len() - TAIL_BYTES..]);
            let decoded = i2_s::decode_variant(&bytes, out, k, variant);
            assert_eq!(decoded, Ok(expected.clone()), "{field}");
            assert_eq!(
                i2_s::encode_variant(&expected, variant),
                Ok(bytes),
                "{field}"
            );
            variants += 1;
        }
    }
    assert_eq!(variants, 8);
}

#[test]
fn sequential_codes_follow_their_formula() {
    let original = ternary(3, 20, Tensor, 9, |_| 0.5);
    let bytes = i2_s::encode_variant(&original, Variant::Sequential).expect("fits");
    assert_eq!(bytes.len(), 15 + TAIL_BYTES);
    for i in 0..60 {
        let code = bytes[i / 4] >> (6 - 2 * (i % 4)) & 3;
        assert_eq!(Some(u32::from(code)), original.code(i / 20, i % 20), "{i}");
    }
}

#[test]
fn another_order_is_the_same_matrix_with_other_inputs() {
    // Why no tensor tells its order: every row, and the whole, has the same codes.
    let original = ternary(6, 256, Tensor, 3, |_| 0.5);
    let bytes = i2_s::encode_variant(&original, Variant::Neon64).expect("fits");
    let wrong = i2_s::decode(&bytes, 6, 256).expect("valid all the same");
    assert_ne!(wrong.codes(), original.codes());
    for row in 0..6 {
        for col in 0..256 {
            // Byte `16·b + j` of a block of 64 is byte `32·(b/2) + 16·(b%2) + j` of one of 128.
            let (block, half, quarter, j) = (col / 128, col % 32 / 16, col % 128 / 32, col % 16);
            let from = 128 * block + 64 * half + 16 * quarter + j;
            assert_eq!(
                wrong.code(row, col),
                original.code(row, from),
                "[{row}, {col}]"
            );
        }
    }
}

#[test]
fn shapes_rule_orders_out() {
    let fitting = |out, k| VARIANTS.map(|variant| variant.fits(out, k));
    assert_eq!(fitting(4, 128), [true; 4]);
    assert_eq!(fitting(3, 64), [false, true, false, true]);
    assert_eq!(fitting(8, 8), [false, true, true, true]);
    assert_eq!(fitting(4, 3), [false, false, true, true]);
    assert_eq!(fitting(1, 3), [false; 4]);
    assert_eq!(fitting(0, 128), [false; 4]);
    assert_eq!(fitting(usize::MAX, 128), [false; 4]);
}

#[test]
fn only_the_first_scale_of_the_tail_counts() {
    let original = ternary(4, 128, Tensor, 1, |_| 0.5);
    let mut bytes = i2_s::encode(&original).expect("fits");
    assert_eq!(bytes[128 + 4..], [0; 28]);
    bytes[132..].fill(0xff);
    assert_eq!(i2_s::decode(&bytes, 4, 128), Ok(original));
}

#[test]
fn wrong_data_is_refused() {
    let original = ternary(4, 128, Tensor, 1, |_| 0.5);
    let good = i2_s::encode(&original).expect("fits");
    for found in [0, 128, 159, 161] {
        let length = CodecError::Length {
            format: FORMAT,
            what: "bytes",
            found,
            expected: 160,
        };
        let mut bytes = good.clone();
        bytes.resize(found, 0);
        assert_eq!(i2_s::decode(&bytes, 4, 128), Err(length));
    }
    let mut bytes = good.clone();
    bytes[2 * 32 + 7] |= 0b0000_1100;
    let invalid = CodecError::InvalidCode {
        format: FORMAT,
        row: 2,
        col: 64 + 7,
        code: 3,
    };
    assert_eq!(i2_s::decode(&bytes, 4, 128), Err(invalid));
    let mut bytes = good;
    let value = f32::NEG_INFINITY;
    bytes[128..132].copy_from_slice(&value.to_le_bytes());
    assert_eq!(
        i2_s::decode(&bytes, 4, 128),
        Err(CodecError::BadScale { index: 0, value })
    );
    let shape = i2_s::decode(&[], usize::MAX, 128);
    assert!(matches!(shape, Err(CodecError::Layout(_))));
}

#[test]
fn what_does_not_fit_is_refused() {
    let weights = "out_features · in_features";
    for (variant, what, out, k, value, multiple) in [
        (Variant::Block128, weights, 3, 64, 192, 128),
        (Variant::Neon64, weights, 3, 32, 96, 64),
        (Variant::FourRows, "out_features", 6, 64, 6, 4),
        (Variant::Sequential, weights, 3, 7, 21, 4),
    ] {
        let expected = CodecError::Multiple {
            format: FORMAT,
            what,
            value,
            multiple,
        };
        let odd = ternary(out, k, Tensor, 1, |_| 1.0);
        assert_eq!(i2_s::encode_variant(&odd, variant), Err(expected.clone()));
        assert_eq!(i2_s::decode_variant(&[], out, k, variant), Err(expected));
    }
    let rows = ternary(4, 128, Row, 1, |i| if i == 2 { 3.0 } else { 1.0 });
    let expected = CodecError::ScalesDiffer {
        format: FORMAT,
        index: 2,
        value: 3.0,
        first: 1.0,
    };
    assert_eq!(i2_s::encode(&rows), Err(expected));
}

proptest! {
    #[test]
    fn matrices_survive(rows in size(1, 5), k in size(1, 70), seed: u64) {
        for variant in VARIANTS {
            // The fewest rows that make whole blocks of any width, and the width itself.
            for (out, k) in [(128 * rows.min(2), k), (4 * rows, 32 * k.min(9))] {
                let original = ternary(out, k, Tensor, seed, |_| 0.75);
                let bytes = i2_s::encode_variant(&original, variant).expect("fits");
                let decoded = i2_s::decode_variant(&bytes, out, k, variant).expect("valid");
                prop_assert!(same(&decoded, &original), "{:?}", variant);
            }
        }
    }

    #[test]
    fn random_bytes_are_read_back_or_refused(
        mut bytes in prop::collection::vec(any::<u8>(), 64 + 32), k in 1..300usize
    ) {
        for variant in VARIANTS {
            let _ = i2_s::decode_variant(&bytes, 256 / k.min(256), k, variant);
        }
        bytes[..64].iter_mut().for_each(|b| *b &= 0b1010_1010);
        bytes[64..68].copy_from_slice(&1f32.to_le_bytes());
        bytes[68..].fill(0);
        for variant in VARIANTS {
            let matrix = i2_s::decode_variant(&bytes, 4, 64, variant).expect("no code 3");
            prop_assert_eq!(i2_s::encode_variant(&matrix, variant), Ok(bytes.clone()));
        }
    }
}
