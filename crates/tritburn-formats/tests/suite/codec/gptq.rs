//! GPTQ tensors, against those of toy models (`data/README.md`).

use half::f16;
use proptest::prelude::*;
use tritburn_formats::affine::{AffineMatrix, Bits, FloatType, Floats};
use tritburn_formats::codec::CodecError;
use tritburn_formats::codec::gptq::{GptqTensors, StoredZeros, decode, encode};
use tritburn_formats::{LayoutError, MatrixError, reference};

use crate::common::golden::{Golden, shape};

const GOLDEN: &[u8] = include_bytes!("../../data/gptq.safetensors");
const FORMAT: &str = "GPTQ";

#[test]
fn golden_tensors_both_ways() {
    let golden = Golden::open(GOLDEN);
    assert_eq!(golden.cases().len(), 4);
    for case in golden.cases() {
        let (name, out, k) = shape(case);
        let bits = Bits::from_count(case["bits"].as_u64().expect("bits") as usize);
        let (bits, group) = (bits.expect("a width"), case["group_size"].as_u64());
        let tensors = GptqTensors {
            qweight: golden.tensor(&format!("{name}.qweight")),
            qzeros: golden.tensor(&format!("{name}.qzeros")),
            scales: Floats::F16(golden.tensor(&format!("{name}.scales"))),
            g_idx: Some(golden.tensor(&format!("{name}.g_idx"))),
        };
        let group = group.map(|size| size as usize);
        let matrix = decode(&tensors, [out, k], bits, group, StoredZeros::MinusOne);
        let matrix = matrix.expect("a valid layer");
        assert_eq!(matrix.order().is_some(), bits == Bits::Three, "{name}");
        let x: Vec<f32> = golden.tensor(&format!("{name}.x"));
        let expected: Vec<f64> = golden.tensor(&format!("{name}.y_f64"));
        let y = reference::matmul_affine(&x, &matrix, None);
        for (y, expected) in y.iter().zip(&expected) {
            let error = (f64::from(*y) - expected).abs();
            assert!(
                error <= 1e-6 * expected.abs().max(1e-2),
                "{name}: {y} {expected}"
            );
        }
        assert_eq!(
            encode(&matrix, StoredZeros::MinusOne),
            Ok(tensors),
            "{name}"
        );
    }
}

/// A layer of random codes whose zero points are the middle.
fn layer(out: usize, k: usize, bits: Bits, group: Option<usize>) -> AffineMatrix {
    let layout = tritburn_formats::AffineLayout::new([out, k], bits, group).expect("valid");
    crate::affine::random_matrix(layout.with_floats(FloatType::Bf16), 5)
}

#[test]
fn version_1_stores_zero_points_minus_one() {
    let matrix = layer(32, 32, Bits::Three, None);
    // Every zero point is 4: fields of 3, then of 4.
    let strings = [StoredZeros::MinusOne, StoredZeros::Plain].map(|stored| {
        let tensors = encode(&matrix, stored).expect("whole zero points");
        let read = decode(&tensors, [32, 32], Bits::Three, None, stored);
        assert_eq!(read, Ok(matrix.clone()));
        tensors.qzeros
    });
    let of = |field: u128| {
        let string = (0..32).fold(0u128, |s, i| s | field << (3 * i));
        [0, 32, 64].map(|shift| (string >> shift) as u32)
    };
    assert_eq!(strings, [of(3), of(4)]);
    let parse = StoredZeros::from_checkpoint_format;
    assert_eq!(parse(None), Ok(StoredZeros::MinusOne));
    assert_eq!(parse(Some("gptq")), Ok(StoredZeros::MinusOne));
    assert_eq!(parse(Some("gptq_v2")), Ok(StoredZeros::Plain));
    let error = CodecError::Config {
        field: "checkpoint_format",
        value: "marlin".into(),
    };
    assert_eq!(parse(Some("marlin")), Err(error));
}

#[test]
fn a_zero_point_that_the_format_has_no_field_for_is_refused() {
    let tensors = encode(&layer(8, 64, Bits::Four, Some(32)), StoredZeros::Plain).unwrap();
    let zero_of = |qzeros: [u32; 2], stored| {
        let mut tensors = tensors.clone();
        tensors.qzeros = qzeros.to_vec();
        decode(&tensors, [8, 64], Bits::Four, Some(32), stored)
    };
    let fields = [0x8888_8888, 0x8f88_8808];
    let plain = zero_of(fields, StoredZeros::Plain).expect("0 to 15 are zero points");
    let zeros = plain.zeros().expect("stored zero points").to_f32();
    assert_eq!(zeros[2 + 1], 0.0);
    assert_eq!(zeros[2 * 6 + 1], 15.0);
    let range = |row, zero, min| CodecError::ZeroRange {
        format: FORMAT,
        row,
        group: 1,
        zero,
        min,
        max: 15,
    };
    let minus_one = StoredZeros::MinusOne;
    assert_eq!(zero_of(fields, minus_one), Err(range(6, 16.0, 1)));
    assert_eq!(encode(&plain, minus_one), Err(range(1, 0.0, 1)));
    let mut parts = plain.into_parts();
    let half = 7.5;
    let mut zeros = vec![8.0; 16];
    zeros[2 * 3 + 1] = half;
    parts.zeros = Some(Floats::from_f32(&zeros, FloatType::Bf16));
    let between = AffineMatrix::new(parts).expect("real zero points");
    assert_eq!(encode(&between, StoredZeros::Plain), Err(range(3, half, 0)));
}

#[test]
fn groups_that_do_not_cover_the_inputs_are_refused() {
    let matrix = layer(8, 80, Bits::Four, Some(32));
    let tensors = encode(&matrix, StoredZeros::Plain).unwrap();
    let with = |g_idx: Vec<i32>| {
        let tensors = GptqTensors {
            g_idx: Some(g_idx),
            ..tensors.clone()
        };
        decode(&tensors, [8, 80], Bits::Four, Some(32), StoredZeros::Plain)
    };
    let g_idx = tensors.g_idx.clone().unwrap();
    assert_eq!(g_idx, (0..80).map(|i| i / 32).collect::<Vec<i32>>());
    assert_eq!(with(g_idx.clone()), Ok(matrix.clone()));
    let none = GptqTensors {
        g_idx: None,
        ..tensors.clone()
    };
    let read = decode(&none, [8, 80], Bits::Four, Some(32), StoredZeros::Plain);
    assert_eq!(read, Ok(matrix));

    let format = FORMAT;
    for group in [-1, 3, i32::MAX, i32::MIN] {
        let mut g_idx = g_idx.clone();
        g_idx[70] = group;
        let (input, groups) = (70, 3);
        assert_eq!(
            with(g_idx),
            Err(CodecError::GroupIndex {
                format,
                input,
                group,
                groups
            })
        );
    }
    let mut uneven = g_idx.clone();
    uneven[79] = 1;
    let (group, found, expected) = (1, 33, 32);
    assert_eq!(
        with(uneven),
        Err(CodecError::GroupInputs {
            format,
            group,
            found,
            expected
        })
    );
    assert!(matches!(
        with(g_idx[1..].to_vec()),
        Err(CodecError::Length {
            what: "g_idx entries",
            found: 79,
            expected: 80,
            ..
        })
    ));
    // The last group first: its 16 inputs are still those of group 2.
    let act_order: Vec<i32> = (0..80).map(|i| (79 - i) / 32).collect();
    let matrix = with(act_order.clone()).expect("a valid order");
    assert_eq!(matrix.order().unwrap()[..2], [48, 49]);
    assert_eq!(matrix.order().unwrap()[64..66], [0, 1]);
    let again = encode(&matrix, StoredZeros::Plain).unwrap();
    assert_eq!(again.g_idx, Some(act_order));
    assert_eq!(again.qweight, tensors.qweight);
}

#[test]
fn tensors_of_the_wrong_length_and_bad_scales_are_refused() {
    let good = encode(&layer(32, 64, Bits::Three, Some(64)), StoredZeros::Plain).unwrap();
    let read = |tensors: &GptqTensors| {
        decode(tensors, [32, 64], Bits::Three, Some(64), StoredZeros::Plain).map(|_| ())
    };
    assert_eq!(read(&good), Ok(()));
    let length = |what, found, expected| {
        Err(CodecError::Length {
            format: FORMAT,
            what,
            found,
            expected,
        })
    };
    let mut wrong = good.clone();
    wrong.qweight.pop();
    assert_eq!(read(&wrong), length("qweight words", 191, 192));
    let mut wrong = good.clone();
    wrong.qzeros.push(0);
    assert_eq!(read(&wrong), length("qzeros words", 4, 3));
    let mut wrong = good.clone();
    wrong.scales = Floats::F16(vec![f16::ONE; 31]);
    assert_eq!(read(&wrong), length("scales", 31, 32));
    for bad in [f16::ZERO, f16::INFINITY] {
        let mut scales = vec![f16::ONE; 32];
        scales[9] = bad;
        wrong.scales = Floats::F16(scales);
        let (row, group, value) = (9, 0, bad.to_f32());
        let error = MatrixError::GroupScale { row, group, value };
        assert_eq!(read(&wrong), Err(CodecError::Pack(error)));
    }
    let shaped =
        |shape, bits, group| decode(&good, shape, bits, group, StoredZeros::Plain).map(|_| ());
    let multiple = |what, value, multiple| {
        Err(CodecError::Multiple {
            format: FORMAT,
            what,
            value,
            multiple,
        })
    };
    assert_eq!(
        shaped([32, 65], Bits::Three, None),
        multiple("in_features", 65, 32)
    );
    assert_eq!(
        shaped([31, 64], Bits::Three, None),
        multiple("out_features", 31, 32)
    );
    assert_eq!(
        shaped([12, 64], Bits::Four, None),
        multiple("out_features", 12, 8)
    );
    assert_eq!(
        shaped([16, 24], Bits::Two, None),
        multiple("in_features", 24, 16)
    );
    let size = 40;
    assert_eq!(
        shaped([32, 64], Bits::Three, Some(size)),
        Err(CodecError::Layout(LayoutError::GroupSize { size }))
    );
    assert!(shaped([1 << 40, 64], Bits::Three, None).is_err());
}

proptest! {
    #[test]
    fn layers_survive(
        out in 1usize..4, k in 1usize..9, group in 0usize..4, permuted: bool, plain: bool, seed: u64,
    ) {
        let stored = if plain { StoredZeros::Plain } else { StoredZeros::MinusOne };
        for (bits, unit) in [(Bits::Two, 16), (Bits::Three, 32), (Bits::Four, 8)] {
            let shape = [out * unit, k * unit];
            let group = (group > 0).then_some(16 * group);
            let layout = tritburn_formats::AffineLayout::new(shape, bits, group).expect("valid");
            let layout = if permuted { layout.with_order() } else { layout };
            let original = crate::affine::random_matrix(layout, seed);
            let tensors = encode(&original, stored).expect("whole zero points");
            let read = decode(&tensors, shape, bits, group, stored).expect("valid");
            prop_assert_eq!(read.dequantize(), original.dequantize());
            prop_assert_eq!(encode(&read, stored), Ok(tensors));
        }
    }
}
