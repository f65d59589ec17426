//! warp-bitnet's two ternary layouts, against its own packers (`data/README.md`).

use proptest::prelude::*;
use serde_json::Value;
use tritburn_formats::ScaleGranularity::{Row, Tensor};
use tritburn_formats::codec::{CodecError, warp_bitnet};
use tritburn_formats::reference::matmul_w2a16;

use crate::common::arbitrary::{same, size, ternary};
use crate::common::golden::{integers, matrix, shape};

const FILE: &str = include_str!("../../data/warp_bitnet_ternary.json");

fn words(value: &Value) -> Vec<u32> {
    integers(value).iter().map(|&w| w as u32).collect()
}

#[test]
fn golden_words_both_ways() {
    let file: Value = serde_json::from_str(FILE).expect("JSON");
    let cases = file["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 3);
    for case in cases {
        let (name, out, k) = shape(case);
        let weights: Vec<i8> = integers(&case["weights"])
            .iter()
            .map(|&w| w as i8)
            .collect();
        let expected = matrix(&weights, out, k, Tensor, &[1.0]);
        let packed = words(&case["packed_u32"]);
        assert_eq!(
            warp_bitnet::decode(&packed, out, k, 1.0),
            Ok(expected.clone()),
            "{name}"
        );
        assert_eq!(
            warp_bitnet::encode(&expected).expect("fits").data,
            packed,
            "{name}"
        );
        let packed4 = words(&case["packed4_u32"]);
        let decoded = warp_bitnet::decode_legacy(&packed4, out, k, 1.0);
        assert_eq!(decoded, Ok(expected.clone()), "{name}");
        let encoded = warp_bitnet::encode_legacy(&expected).expect("fits");
        assert_eq!((encoded.data, encoded.gamma), (packed4, 1.0), "{name}");

        let numbers = |value: &Value| -> Vec<f64> {
            let number = |v: &Value| v.as_f64().expect("a number");
            value
                .as_array()
                .expect("array")
                .iter()
                .map(number)
                .collect()
        };
        let x: Vec<f32> = numbers(&case["forward"]["x_f16"])
            .iter()
            .map(|&x| x as f32)
            .collect();
        let y = matmul_w2a16(&x, &expected, None);
        let y: Vec<f64> = y.iter().map(|&y| y.into()).collect();
        assert_eq!(y, numbers(&case["forward"]["y_f64"]), "{name}");
    }
}

#[test]
fn wrong_data_is_refused() {
    let invalid = |format, row, col, code| CodecError::InvalidCode {
        format,
        row,
        col,
        code,
    };
    let mut packed = [0; 4];
    packed[3] = 3 << 10;
    let expected = invalid("warp-bitnet", 1, 16 + 5, 3);
    assert_eq!(warp_bitnet::decode(&packed, 2, 32, 1.0), Err(expected));
    for code in [3, 4, 8, 15] {
        let mut packed = [0; 6];
        packed[4] = code << 20 | 1 << 24;
        let expected = invalid("warp-bitnet 4-bit", 1, 8 + 5, code);
        assert_eq!(
            warp_bitnet::decode_legacy(&packed, 2, 24, 1.0),
            Err(expected)
        );
    }
    let length = |format, found, expected| CodecError::Length {
        format,
        what: "words",
        found,
        expected,
    };
    let expected = length("warp-bitnet", 3, 4);
    assert_eq!(warp_bitnet::decode(&packed[..3], 2, 32, 1.0), Err(expected));
    let expected = length("warp-bitnet 4-bit", 4, 8);
    assert_eq!(
        warp_bitnet::decode_legacy(&packed, 2, 32, 1.0),
        Err(expected)
    );
    assert!(matches!(
        warp_bitnet::decode(&[], 1 << 40, 1 << 16, 1.0),
        Err(CodecError::Layout(_))
    ));
    let infinite = warp_bitnet::decode(&[0], 1, 16, f32::INFINITY);
    assert!(matches!(infinite, Err(CodecError::BadScale { .. })));
}

#[test]
fn what_does_not_fit_is_refused() {
    let multiple = |format, value, multiple| CodecError::Multiple {
        format,
        what: "in_features",
        value,
        multiple,
    };
    let odd = ternary(2, 24, Tensor, 1, |_| 1.0);
    let expected = multiple("warp-bitnet", 24, 16);
    assert_eq!(warp_bitnet::encode(&odd), Err(expected.clone()));
    assert_eq!(warp_bitnet::decode(&[], 2, 24, 1.0), Err(expected));
    let odd = ternary(2, 20, Tensor, 1, |_| 1.0);
    let expected = multiple("warp-bitnet 4-bit", 20, 8);
    assert_eq!(warp_bitnet::encode_legacy(&odd), Err(expected.clone()));
    assert_eq!(warp_bitnet::decode_legacy(&[], 2, 20, 1.0), Err(expected));
    let rows = ternary(2, 16, Row, 1, |i| i as f32);
    assert!(matches!(
        warp_bitnet::encode(&rows),
        Err(CodecError::ScalesDiffer { index: 1, .. })
    ));
}

proptest! {
    #[test]
    fn matrices_survive(out in size(1, 20), k in size(8, 20), seed: u64) {
        let original = ternary(out, k, Tensor, seed, |_| 0.5);
        let encoded = warp_bitnet::encode_legacy(&original).expect("fits");
        let decoded = warp_bitnet::decode_legacy(&encoded.data, out, k, encoded.gamma);
        prop_assert!(same(&decoded.expect("valid"), &original));
        let original = ternary(out, 2 * k, Tensor, seed, |_| 0.5);
        let encoded = warp_bitnet::encode(&original).expect("fits");
        let decoded = warp_bitnet::decode(&encoded.data, out, 2 * k, encoded.gamma);
        prop_assert!(same(&decoded.expect("valid"), &original));
    }

    #[test]
    fn random_words_are_read_back_or_refused(words in prop::collection::vec(any::<u32>(), 6)) {
        for words in [words.clone(), words.iter().map(|w| w & 0x1111_1111).collect()] {
            if let Ok(matrix) = warp_bitnet::decode(&words, 3, 32, 1.0) {
                prop_assert_eq!(&warp_bitnet::encode(&matrix).expect("fits").data, &words);
            }
            if let Ok(matrix) = warp_bitnet::decode_legacy(&words, 2, 24, 1.0) {
                prop_assert_eq!(&warp_bitnet::encode_legacy(&matrix).expect("fits").data, &words);
            }
        }
    }
}
