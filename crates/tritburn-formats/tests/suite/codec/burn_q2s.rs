//! The bytes of Burn's Q2S tensors (`data/README.md`).

use proptest::prelude::*;
use tritburn_formats::ScaleGranularity::{Group, Row, Tensor};
use tritburn_formats::codec::{CodecError, burn_q2s};

use crate::common::arbitrary::{same, size, ternary};
use crate::common::golden::{Golden, matrix, shape};

const FILE: &[u8] = include_bytes!("../../data/burn_q2s.safetensors");
const FORMAT: &str = "Burn Q2S";

#[test]
fn golden_bytes_both_ways() {
    let golden = Golden::open(FILE);
    for case in golden.cases() {
        let (name, out, k) = shape(case);
        let block = case["block_size"].as_u64().map(|b| b as usize);
        let bytes: Vec<u8> = golden.tensor(&format!("{name}.tensor_data"));
        let weights: Vec<i8> = golden.tensor(&format!("{name}.weights"));
        let scales: Vec<f32> = golden.tensor(&format!("{name}.scales_f32"));
        let scale = block.map_or(Tensor, |size| Group { size });
        let expected = matrix(&weights, out, k, scale, &scales);
        assert_eq!(
            burn_q2s::decode(&bytes, out, k, block),
            Ok(expected.clone()),
            "{name}"
        );
        assert_eq!(burn_q2s::encode(&expected), Ok(bytes), "{name}");
        let dequantized: Vec<f64> = golden.tensor(&format!("{name}.dequant_f64"));
        let ours: Vec<f64> = expected.dequantize().iter().map(|&w| w.into()).collect();
        assert_eq!(ours, dequantized, "{name}");
    }
}

#[test]
fn wrong_data_is_refused() {
    let multiple = |value, multiple| CodecError::Multiple {
        format: FORMAT,
        what: "in_features",
        value,
        multiple,
    };
    assert_eq!(burn_q2s::decode(&[], 1, 20, None), Err(multiple(20, 16)));
    assert_eq!(
        burn_q2s::decode(&[], 1, 80, Some(48)),
        Err(multiple(80, 48))
    );
    let granularity = CodecError::Granularity {
        format: FORMAT,
        scale: Group { size: 256 },
    };
    assert_eq!(burn_q2s::decode(&[], 1, 256, Some(256)), Err(granularity));
    for block in [0, 8, 40] {
        let found = burn_q2s::decode(&[], 1, 80, Some(block));
        assert!(matches!(found, Err(CodecError::Layout(_))), "{block}");
    }
    let length = CodecError::Length {
        format: FORMAT,
        what: "bytes",
        found: 15,
        expected: 16,
    };
    assert_eq!(burn_q2s::decode(&[0; 15], 1, 32, Some(16)), Err(length));
    let mut bytes = [0; 12];
    bytes[5] = 0b10_00;
    let invalid = CodecError::InvalidCode {
        format: FORMAT,
        row: 0,
        col: 16 + 5,
        code: 2,
    };
    assert_eq!(burn_q2s::decode(&bytes, 1, 32, None), Err(invalid));
    let huge = burn_q2s::decode(&[], usize::MAX, 16, Some(16));
    assert!(matches!(huge, Err(CodecError::Layout(_))));
}

#[test]
fn what_does_not_fit_is_refused() {
    let differing = ternary(3, 32, Row, 1, |i| 1.0 + i as f32);
    assert!(matches!(
        burn_q2s::encode(&differing),
        Err(CodecError::ScalesDiffer { index: 1, .. })
    ));
    let same = ternary(3, 32, Row, 1, |_| 0.5);
    let bytes = burn_q2s::encode(&same).expect("one scale");
    assert_eq!(bytes.len(), 3 * 8 + 4);
    let grouped = ternary(3, 512, Group { size: 256 }, 1, |_| 0.5);
    let found = burn_q2s::encode(&grouped);
    assert!(matches!(found, Err(CodecError::Granularity { .. })));
}

proptest! {
    #[test]
    fn matrices_survive(out in size(1, 20), groups in 1..9usize, block in size(16, 15), seed: u64) {
        for (scale, block, k) in [
            (Tensor, None, 16 * groups),
            (Group { size: block }, Some(block), block * groups),
        ] {
            let original = ternary(out, k, scale, seed, |i| 0.5 + i as f32);
            let bytes = burn_q2s::encode(&original).expect("fits");
            let decoded = burn_q2s::decode(&bytes, out, k, block).expect("valid");
            prop_assert!(same(&decoded, &original));
        }
    }

    #[test]
    fn random_bytes_are_read_back_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 20)) {
        let _ = burn_q2s::decode(&bytes, 2, 32, None);
        bytes[..16].iter_mut().for_each(|b| *b &= 0x55);
        if let Ok(matrix) = burn_q2s::decode(&bytes, 2, 32, None) {
            prop_assert_eq!(burn_q2s::encode(&matrix), Ok(bytes));
        }
    }
}
