//! GGUF block types to floats, against the `gguf` Python package (`data/README.md`).

use half::f16;
use rstest::rstest;
use tritburn_formats::codec::CodecError;
use tritburn_formats::codec::Rounding;
use tritburn_formats::codec::gguf::blocks::{can_dequantize, dequantize};
use tritburn_formats::codec::gguf::{q2_0, tq1_0, tq2_0};
use tritburn_formats::file::gguf::GgmlType;
use tritburn_formats::{PackedMatrix, ScaleGranularity};

use crate::common::arbitrary::ternary;
use crate::common::golden::{Golden, shape};

const FILE: &[u8] = include_bytes!("../../data/gguf_blocks.safetensors");

const KINDS: [GgmlType; 10] = [
    GgmlType::Q4_0,
    GgmlType::Q4_1,
    GgmlType::Q5_0,
    GgmlType::Q5_1,
    GgmlType::Q8_0,
    GgmlType::Q2K,
    GgmlType::Q3K,
    GgmlType::Q4K,
    GgmlType::Q5K,
    GgmlType::Q6K,
];

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn golden_values_to_the_bit() {
    let golden = Golden::open(FILE);
    assert_eq!(golden.cases().len(), KINDS.len());
    for (case, kind) in golden.cases().iter().zip(KINDS) {
        let (name, blocks, values) = shape(case);
        assert_eq!(name, kind.name().to_lowercase());
        assert_eq!(kind.block_len(), Some(values), "{name}");
        let packed: Vec<u8> = golden.tensor(&format!("{name}.packed"));
        let expected: Vec<f32> = golden.tensor(&format!("{name}.dequant_f32"));
        assert_eq!(kind.block_bytes().map(|b| blocks * b), Some(packed.len()));
        // -0.0 is a value like any other.
        let mut found = vec![f32::NAN; expected.len()];
        dequantize(kind, &packed, &mut found).expect(name);
        assert_eq!(bits(&found), bits(&expected), "{name}");
        // Many blocks, in tasks of their own, and one.
        let count = (1 << 18) / expected.len();
        let mut many = vec![f32::NAN; count * expected.len()];
        dequantize(kind, &packed.repeat(count), &mut many).expect(name);
        let good = many
            .chunks(expected.len())
            .all(|c| bits(c) == bits(&expected));
        assert!(good, "{name}");
        let block = packed.len() / blocks;
        dequantize(kind, &packed[block..2 * block], &mut found[..values]).expect(name);
        assert_eq!(bits(&found[..values]), bits(&expected[values..2 * values]));
        assert_eq!(dequantize(kind, &[], &mut []), Ok(()));
    }
}

#[rstest]
#[case(GgmlType::Tq1_0, 256, |m: &PackedMatrix| tq1_0::encode(m, Rounding::Exact))]
#[case(GgmlType::Tq2_0, 256, |m: &PackedMatrix| tq2_0::encode(m, Rounding::Exact))]
#[case(GgmlType::Q2_0, 64, |m: &PackedMatrix| q2_0::encode(m, q2_0::Block::B64, Rounding::Exact))]
#[case(GgmlType::Q2_0G128, 128, |m: &PackedMatrix| q2_0::encode(m, q2_0::Block::B128, Rounding::Exact))]
#[case(GgmlType::Pq2_0, 128, |m: &PackedMatrix| q2_0::encode(m, q2_0::Block::B128, Rounding::Exact))]
fn ternary_types_are_their_matrix(
    #[case] kind: GgmlType,
    #[case] size: usize,
    #[case] encode: fn(&PackedMatrix) -> Result<Vec<u8>, CodecError>,
) {
    let scale = ScaleGranularity::Group { size };
    let matrix = ternary(3, 512, scale, 5, |i| 0.5 + i as f32 / 64.0);
    let bytes = encode(&matrix).expect("exact");
    let mut values = vec![f32::NAN; 3 * 512];
    dequantize(kind, &bytes, &mut values).expect("valid");
    assert_eq!(values, matrix.dequantize());
}

#[test]
fn the_fourth_code_of_q2_0_is_a_value() {
    let mut block = [0b11_10_01_00; 18];
    block[..2].copy_from_slice(&f16::from_f32(0.25).to_le_bytes());
    let mut values = [0.0; 64];
    dequantize(GgmlType::Q2_0, &block, &mut values).expect("valid");
    assert_eq!(values[60..], [-0.25, 0.0, 0.25, 0.5]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut values = [0.0; 512];
    for kind in KINDS {
        let (format, len) = (kind.name(), kind.block_len().expect("a block type"));
        let bytes = kind.block_bytes().expect("a block type");
        let multiple = CodecError::Multiple {
            format,
            what: "the number of values",
            value: len - 1,
            multiple: len,
        };
        let found = dequantize(kind, &vec![0; bytes], &mut values[..len - 1]);
        assert_eq!(found, Err(multiple));
        for found in [0, bytes, 2 * bytes - 1, 2 * bytes + 1] {
            let length = CodecError::Length {
                format,
                what: "bytes",
                found,
                expected: 2 * bytes,
            };
            let result = dequantize(kind, &vec![0; found], &mut values[..2 * len]);
            assert_eq!(result, Err(length));
        }
    }
    for kind in [
        GgmlType::Iq4Nl,
        GgmlType::I2S,
        GgmlType::Ptq1_0,
        GgmlType::Unknown(99),
    ] {
        assert!(!can_dequantize(kind));
        let expected = CodecError::Type { kind };
        assert_eq!(dequantize(kind, &[0; 18], &mut values[..32]), Err(expected));
    }
    // Five digits where TQ1_0 has four.
    let invalid = CodecError::InvalidByte {
        format: "GGUF TQ1_0",
        offset: 48,
        byte: 2,
    };
    let mut bytes = [0; 54];
    bytes[48] = 2;
    let found = dequantize(GgmlType::Tq1_0, &bytes, &mut values[..256]);
    assert_eq!(found, Err(invalid));
}
