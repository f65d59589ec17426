//! bitnet-triton's words and scales, against its own packer (`data/README.md`).

mod common;

use common::arbitrary::{same, size, ternary};
use common::golden::{Golden, bits, matrix, shape};
use proptest::prelude::*;
use tritburn_formats::ScaleGranularity::{Group, Row, Segments, Tensor};
use tritburn_formats::codec::{CodecError, bitnet_triton};

const FILE: &[u8] = include_bytes!("data/bitnet_triton.safetensors");
const FORMAT: &str = "bitnet-triton";

#[test]
fn golden_words_both_ways() {
    let golden = Golden::open(FILE);
    for case in golden.cases() {
        let (name, out, k) = shape(case);
        let words: Vec<u32> = golden.tensor(&format!("{name}.packed_u32"));
        let scales = case["scale_bits"].as_array().expect("scales");
        let scales: Vec<f32> = scales.iter().map(|b| f32::from_bits(bits(b))).collect();
        assert_eq!(golden.tensor::<f32>(&format!("{name}.scale_f32")), scales);
        let weights: Vec<i8> = golden.tensor(&format!("{name}.weights"));
        let expected = matrix(&weights, out, k, Row, &scales);
        let decoded = bitnet_triton::decode(&words, out, k, &scales);
        assert_eq!(decoded, Ok(expected.clone()), "{name}");
        let encoded = bitnet_triton::encode(&expected).expect("scales per row");
        assert_eq!(encoded.packed_weight, words, "{name}");
        assert_eq!(encoded.weight_scale, scales, "{name}");
    }
}

#[test]
fn coarser_scales_are_repeated() {
    let scale = |i| 1.0 + i as f32;
    for (granularity, expected) in [
        (Tensor, [1.0, 1.0, 1.0]),
        (Segments { rows: vec![1, 2] }, [1.0, 2.0, 2.0]),
    ] {
        let original = ternary(3, 20, granularity, 1, scale);
        let encoded = bitnet_triton::encode(&original).expect("per row");
        assert_eq!(encoded.weight_scale, expected);
    }
    let granularity = CodecError::Granularity {
        format: FORMAT,
        scale: Group { size: 16 },
    };
    let grouped = ternary(3, 20, Group { size: 16 }, 1, scale);
    assert_eq!(bitnet_triton::encode(&grouped), Err(granularity));
}

#[test]
fn wrong_data_is_refused() {
    let length = |what, found, expected| CodecError::Length {
        format: FORMAT,
        what,
        found,
        expected,
    };
    let decode = |words: &[u32], scales: &[f32]| bitnet_triton::decode(words, 2, 20, scales);
    assert_eq!(decode(&[0; 3], &[1.0; 2]), Err(length("words", 3, 4)));
    assert_eq!(decode(&[0; 4], &[1.0; 3]), Err(length("scales", 3, 2)));
    assert_eq!(
        decode(&[0; 4], &[1.0, f32::INFINITY]),
        Err(CodecError::BadScale {
            index: 1,
            value: f32::INFINITY
        })
    );
    let invalid = CodecError::InvalidCode {
        format: FORMAT,
        row: 1,
        col: 19,
        code: 3,
    };
    assert_eq!(decode(&[0, 0, 0, 3 << 6], &[1.0; 2]), Err(invalid));
    // Padding may hold anything.
    assert!(decode(&[0, 0, 0, 3 << 8], &[1.0; 2]).is_ok());
    let huge = bitnet_triton::decode(&[], usize::MAX, 16, &[]);
    assert!(matches!(huge, Err(CodecError::Layout(_))));
}

proptest! {
    #[test]
    fn matrices_survive(out in size(1, 20), k in size(1, 90), seed: u64) {
        let original = ternary(out, k, Row, seed, |i| 0.5 + i as f32);
        let encoded = bitnet_triton::encode(&original).expect("per row");
        let decoded = bitnet_triton::decode(&encoded.packed_weight, out, k, &encoded.weight_scale);
        let decoded = decoded.expect("valid");
        prop_assert!(same(&decoded, &original));
        prop_assert_eq!(decoded.words(), encoded.packed_weight);
    }
}
