//! bitnet-triton's words and scales, against its own packer (`data/README.md`).

use proptest::prelude::*;
use rstest::rstest;
use tritburn_formats::ScaleGranularity::{Group, Row, Segments, Tensor};
use tritburn_formats::codec::{CodecError, bitnet_triton};
use tritburn_formats::quantize::pack_weights;
use tritburn_formats::reference::matmul_w2a16;
use tritburn_formats::{PackedLayout, WeightCode};

use crate::common::arbitrary::{same, size, ternary};
use crate::common::golden::{Golden, bits, matrix, shape};

const FILE: &[u8] = include_bytes!("../../data/bitnet_triton.safetensors");
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

/// Our own quantiser makes what bitnet-triton's packer made of the same floats.
#[rstest]
#[case("n32_k64", 32, 64)]
#[case("n8_k50_padded", 8, 50)]
#[case("n4_k16_zero_row", 4, 16)]
#[case("n3_k7_short", 3, 7)]
fn a_matrix_packs_as_bitnet_triton_packs_it(
    #[case] name: &str,
    #[case] out: usize,
    #[case] k: usize,
) {
    let golden = Golden::open(FILE);
    let floats = |field: &str| golden.tensor::<f32>(&format!("{name}.{field}"));
    let layout = PackedLayout::new(out, k, WeightCode::Ternary, Row).expect("valid");
    let matrix = pack_weights(&floats("weights_f32"), &layout).expect("finite");

    let words: Vec<u32> = golden.tensor(&format!("{name}.packed_u32"));
    assert_eq!(matrix.words(), words);
    let ternary: Vec<i8> = golden.tensor(&format!("{name}.weights"));
    assert_eq!(ternary.len(), out * k);
    for (i, &w) in ternary.iter().enumerate() {
        assert_eq!(matrix.value(i / k, i % k), Some(w as i32), "weight {i}");
    }
    let scales = floats("scale_f32");
    assert_eq!(matrix.scales().len(), scales.len());
    for (got, expected) in matrix.scales().iter().zip(&scales) {
        assert!((got / expected - 1.0).abs() < 1e-6, "{got} {expected}");
    }

    let y = matmul_w2a16(&floats("forward.x_f32"), &matrix, None);
    let expected: Vec<f64> = golden.tensor(&format!("{name}.forward.y_f64"));
    assert_eq!(y.len(), expected.len());
    for (&got, expected) in y.iter().zip(expected) {
        let error = (got as f64 - expected).abs();
        assert!(error <= 2e-6 * expected.abs().max(1.0), "{got} {expected}");
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
