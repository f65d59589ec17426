//! transformers' `bitnet` layout, against its own packer (`data/README.md`).

use proptest::prelude::*;
use tritburn_formats::ScaleGranularity::{Group, Row, Segments, Tensor};
use tritburn_formats::WeightCode;
use tritburn_formats::codec::{CodecError, Rounding, ScaleDirection, hf_bitnet};
use tritburn_formats::quantize::quantize_weights;
use tritburn_formats::reference::matmul_w2a16;

use crate::common::arbitrary::{same, size, ternary};
use crate::common::golden::{Golden, matrix, shape};

const FILE: &[u8] = include_bytes!("../../data/hf_bitnet_uint8.safetensors");

#[test]
fn golden_bytes_both_ways() {
    let golden = Golden::open(FILE);
    for case in golden.cases() {
        let (name, out, k) = shape(case);
        let packed: Vec<u8> = golden.tensor(&format!("{name}.packed"));
        let weights: Vec<i8> = golden.tensor(&format!("{name}.weights"));
        let expected = matrix(&weights, out, k, Tensor, &[0.25]);
        assert_eq!(
            hf_bitnet::decode(&packed, out, k, 0.25),
            Ok(expected.clone()),
            "{name}"
        );
        let encoded = hf_bitnet::encode(&expected).expect("ternary with one scale");
        assert_eq!(
            (encoded.data, encoded.gamma),
            (packed.clone(), 0.25),
            "{name}"
        );
        // What transformers unpacks, surplus rows of -1 included.
        let unpacked: Vec<i8> = golden.tensor(&format!("{name}.unpacked"));
        let rows = out.div_ceil(4) * 4;
        let expected = matrix(&unpacked, rows, k, Tensor, &[0.25]);
        assert_eq!(
            hf_bitnet::decode(&packed, rows, k, 0.25),
            Ok(expected),
            "{name}"
        );
    }
}

#[test]
fn golden_products_with_either_direction() {
    let golden = Golden::open(FILE);
    let mut products = 0;
    for case in golden
        .cases()
        .iter()
        .filter(|case| !case["forward"].is_null())
    {
        let (name, out, k) = shape(case);
        let packed: Vec<u8> = golden.tensor(&format!("{name}.packed"));
        for class in ["autobitlinear", "bitlinear"] {
            let stored = case["forward"][class]["weight_scale_bf16"].as_f64();
            let direction = ScaleDirection::from_config(Some(class), None)
                .expect("known")
                .expect("packed");
            let gamma = direction
                .to_gamma(stored.expect("scale") as f32)
                .expect("finite");
            let matrix = hf_bitnet::decode(&packed, out, k, gamma).expect("valid");
            let x: Vec<i8> = golden.tensor(&format!("{name}.forward.x_i8"));
            let a: Vec<f32> = golden.tensor(&format!("{name}.forward.act_scale_f32"));
            let x: Vec<f32> = x
                .iter()
                .zip(0..)
                .map(|(&x, i)| x as f32 / a[i / k])
                .collect();
            let y: Vec<f64> = golden.tensor(&format!("{name}.forward.{class}.y_f64"));
            for (got, expected) in matmul_w2a16(&x, &matrix, None).iter().zip(y) {
                let error = (*got as f64 - expected).abs();
                assert!(error <= 1e-5 * expected.abs().max(1.0), "{got} {expected}");
                products += 1;
            }
        }
    }
    assert_eq!(products, 2 * 2 * (32 + 12));
}

#[test]
fn the_configuration_names_the_direction() {
    use ScaleDirection::{Divide, Multiply};
    for (class, mode, expected) in [
        (None, None, Some(Divide)),
        (Some("bitlinear"), None, Some(Divide)),
        (Some("bitlinear"), Some("online"), Some(Divide)),
        (Some("autobitlinear"), None, Some(Multiply)),
        (Some("autobitlinear"), Some("offline"), Some(Multiply)),
        (Some("autobitlinear"), Some("online"), None),
    ] {
        assert_eq!(ScaleDirection::from_config(class, mode), Ok(expected));
    }
    let unknown = |field, value: &str| {
        let value = value.to_owned();
        Err(CodecError::Config { field, value })
    };
    assert_eq!(
        ScaleDirection::from_config(Some("AutoBitLinear"), None),
        unknown("linear_class", "AutoBitLinear")
    );
    assert_eq!(
        ScaleDirection::from_config(None, Some("")),
        unknown("quantization_mode", "")
    );
}

#[test]
fn every_stored_scale_survives_reading_and_writing() {
    for direction in [ScaleDirection::Multiply, ScaleDirection::Divide] {
        for bits in (0x0080u16..0x7e80).chain(0x8080..0xfe80) {
            let stored = half::bf16::from_bits(bits);
            let gamma = direction.to_gamma(stored.to_f32()).expect("normal");
            assert_eq!(
                direction.to_bf16(gamma, Rounding::Exact),
                Ok(stored),
                "{stored}"
            );
        }
    }
}

#[test]
fn a_scale_is_rounded_only_on_request() {
    let third = 1.0f32 / 3.0;
    let stored = half::bf16::from_f32(third);
    let inexact = |stored| CodecError::InexactScale {
        index: 0,
        value: third,
        stored,
    };
    let multiply = ScaleDirection::Multiply;
    assert_eq!(
        multiply.to_bf16(third, Rounding::Exact),
        Err(inexact(stored.to_f32()))
    );
    assert_eq!(multiply.to_bf16(third, Rounding::Nearest), Ok(stored));
    let divide = ScaleDirection::Divide;
    assert_eq!(
        divide.to_bf16(third, Rounding::Exact).map(f32::from),
        Ok(3.0)
    );
    assert_eq!(divide.from_gamma(0.25, Rounding::Exact), Ok(4.0));
    // 1 / (1 / 7) is not 7 in f32.
    assert!(matches!(
        divide.from_gamma(7.0, Rounding::Exact),
        Err(CodecError::InexactScale { value: 7.0, .. })
    ));
    assert_eq!(divide.from_gamma(7.0, Rounding::Nearest), Ok(1.0 / 7.0));
    let bad = |value| Err(CodecError::BadScale { index: 0, value });
    assert_eq!(divide.to_gamma(0.0), bad(0.0));
    assert_eq!(divide.from_gamma(0.0, Rounding::Nearest), bad(0.0));
    assert_eq!(multiply.to_gamma(f32::INFINITY), bad(f32::INFINITY));
    assert_eq!(
        multiply.to_bf16(f32::MAX, Rounding::Nearest).map(f32::from),
        bad(f32::MAX)
    );
}

#[test]
fn wrong_data_is_refused() {
    let format = "HF bitnet";
    let (what, expected) = ("bytes", 16);
    for found in [0, 15, 17, 32] {
        let length = CodecError::Length {
            format,
            what,
            found,
            expected,
        };
        assert_eq!(hf_bitnet::decode(&vec![0; found], 5, 8, 1.0), Err(length));
    }
    let mut bytes = [0x55; 16];
    bytes[8 + 5] = 0b0101_1101;
    let invalid = CodecError::InvalidCode {
        format,
        row: 3,
        col: 5,
        code: 3,
    };
    assert_eq!(hf_bitnet::decode(&bytes, 5, 8, 1.0), Err(invalid));
    assert!(matches!(
        hf_bitnet::decode(&[0x55], 1, 1, f32::NAN),
        Err(CodecError::BadScale { index: 0, value }) if value.is_nan()
    ));
    for (out, k) in [
        (0, 4),
        (4, 0),
        (usize::MAX, 4),
        (4, usize::MAX),
        (1 << 32, 16),
    ] {
        assert!(matches!(
            hf_bitnet::decode(&[], out, k, 1.0),
            Err(CodecError::Layout(_))
        ));
    }
}

#[test]
fn what_the_format_cannot_hold_is_refused() {
    let format = "HF bitnet";
    let scales = |i| 1.0 + i as f32;
    for scale in [Row, Group { size: 16 }, Segments { rows: vec![3, 5] }] {
        let differing = ternary(8, 32, scale.clone(), 1, scales);
        let (index, value, first) = (1, 2.0, 1.0);
        let differ = CodecError::ScalesDiffer {
            format,
            index,
            value,
            first,
        };
        assert_eq!(hf_bitnet::encode(&differing), Err(differ));
        let same = ternary(8, 32, scale, 1, |_| 0.5);
        assert_eq!(hf_bitnet::encode(&same).map(|e| e.gamma), Ok(0.5));
    }
    let layout = crate::common::layout(4, 16, WeightCode::Int2, Tensor);
    let code = WeightCode::Int2;
    let int2 = quantize_weights(&crate::common::noise(64, 1), &layout).unwrap();
    assert_eq!(
        hf_bitnet::encode(&int2),
        Err(CodecError::CodeTable { format, code })
    );
}

proptest! {
    #[test]
    fn matrices_survive(out in size(1, 40), k in size(1, 150), seed: u64) {
        let original = ternary(out, k, Tensor, seed, |_| 0.75);
        let encoded = hf_bitnet::encode(&original).expect("one scale");
        let decoded = hf_bitnet::decode(&encoded.data, out, k, encoded.gamma).expect("valid");
        prop_assert!(same(&decoded, &original));
    }

    #[test]
    fn random_bytes_are_read_back_or_refused(
        out in 1..20usize, k in 1..40usize, bytes in prop::collection::vec(any::<u8>(), 0..200)
    ) {
        if let Ok(matrix) = hf_bitnet::decode(&bytes, out, k, 1.0) {
            let again = hf_bitnet::encode(&matrix).expect("one scale").data;
            prop_assert_eq!(hf_bitnet::decode(&again, out, k, 1.0), Ok(matrix));
            if out % 4 == 0 {
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
