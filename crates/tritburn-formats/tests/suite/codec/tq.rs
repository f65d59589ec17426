//! GGUF TQ1_0 and TQ2_0, against the `gguf` Python package (`data/README.md`).

use half::f16;
use proptest::prelude::*;
use rstest::rstest;
use tritburn_formats::ScaleGranularity::{Group, Row, Segments, Tensor};
use tritburn_formats::codec::gguf::{tq1_0, tq2_0};
use tritburn_formats::codec::{CodecError, Rounding};
use tritburn_formats::{PackedMatrix, ScaleGranularity};

use crate::common::arbitrary::{same, size, ternary};
use crate::common::golden::{Golden, bits, matrix, shape};

const FILE: &[u8] = include_bytes!("../../data/gguf_tq.safetensors");
const BLOCKS: ScaleGranularity = Group { size: 256 };

type Decode = fn(&[u8], usize, usize) -> Result<PackedMatrix, CodecError>;
type Encode = fn(&PackedMatrix, Rounding) -> Result<Vec<u8>, CodecError>;

struct Format {
    name: &'static str,
    field: &'static str,
    block_bytes: usize,
    decode: Decode,
    decode_groups: Decode,
    encode: Encode,
}

const TQ1_0: Format = Format {
    name: "GGUF TQ1_0",
    field: "tq1_0",
    block_bytes: tq1_0::BLOCK_BYTES,
    decode: tq1_0::decode,
    decode_groups: tq1_0::decode_groups,
    encode: tq1_0::encode,
};

const TQ2_0: Format = Format {
    name: "GGUF TQ2_0",
    field: "tq2_0",
    block_bytes: tq2_0::BLOCK_BYTES,
    decode: tq2_0::decode,
    decode_groups: tq2_0::decode_groups,
    encode: tq2_0::encode,
};

#[rstest]
#[case(TQ1_0)]
#[case(TQ2_0)]
fn golden_bytes_both_ways(#[case] format: Format) {
    let golden = Golden::open(FILE);
    for case in golden.cases() {
        let (name, out, k) = shape(case);
        let packed: Vec<u8> = golden.tensor(&format!("{name}.{}.packed", format.field));
        let weights: Vec<i8> = golden.tensor(&format!("{name}.ternary"));
        let scales = case["block_scale_bits"].as_array().expect("scales");
        let scale = |b| f16::from_bits(bits(b) as u16).to_f32();
        let scales: Vec<f32> = scales.iter().map(scale).collect();
        let expected = matrix(&weights, out, k, BLOCKS, &scales);
        let decoded = (format.decode_groups)(&packed, out, k);
        assert_eq!(decoded, Ok(expected.clone()), "{name}");
        assert_eq!(
            (format.encode)(&expected, Rounding::Exact),
            Ok(packed.clone()),
            "{name}"
        );

        let dequantized = format!("{name}.{}.dequant_f32", format.field);
        if golden.has(&dequantized) {
            assert_eq!(expected.dequantize(), golden.tensor::<f32>(&dequantized));
            // The block of zeros does not count.
            let one = matrix(&weights, out, k, Tensor, &scales[1..]);
            assert_eq!((format.decode)(&packed, out, k), Ok(one.clone()));
            assert_eq!((format.encode)(&one, Rounding::Exact), Ok(packed));
        } else {
            assert_eq!((format.decode)(&packed, out, k), Ok(expected), "{name}");
        }
    }
    assert!(golden.has(&format!(
        "n2_k256_zero_block_and_dense.{}.dequant_f32",
        format.field
    )));
}

#[rstest]
#[case(TQ1_0)]
#[case(TQ2_0)]
fn codes_that_are_not_zero_keep_their_zero_scale(#[case] format: Format) {
    // Collapsing to one scale would turn these zeros into weights.
    let scales = [0.0, 0.5];
    let original = matrix(&[1; 512], 2, 256, BLOCKS, &scales);
    let bytes = (format.encode)(&original, Rounding::Exact).expect("exact");
    assert_eq!((format.decode)(&bytes, 2, 256), Ok(original));
    let zeros = matrix(&[0; 512], 2, 256, BLOCKS, &scales);
    let bytes = (format.encode)(&zeros, Rounding::Exact).expect("exact");
    assert!(
        bytes
            .chunks(format.block_bytes)
            .all(|b| b.ends_with(&[0, 0]))
    );
    let expected = matrix(&[0; 512], 2, 256, Tensor, &[0.0]);
    assert_eq!((format.decode)(&bytes, 2, 256), Ok(expected));
}

#[rstest]
#[case(TQ1_0)]
#[case(TQ2_0)]
fn scales_are_rounded_only_on_request(#[case] format: Format) {
    let value = 0.1f32;
    let stored = f16::from_f32(value).to_f32();
    let group = |i| if i == 3 { value } else { 0.5 };
    let original = ternary(2, 512, BLOCKS, 5, group);
    let inexact = CodecError::InexactScale {
        index: 3,
        value,
        stored,
    };
    assert_eq!((format.encode)(&original, Rounding::Exact), Err(inexact));
    let bytes = (format.encode)(&original, Rounding::Nearest).expect("rounded");
    let decoded = (format.decode_groups)(&bytes, 2, 512).expect("valid");
    assert_eq!(decoded.words(), original.words());
    assert_eq!(decoded.scales(), [0.5, 0.5, 0.5, stored]);
    for value in [1e-9, 7e4, f32::INFINITY] {
        let original = ternary(2, 512, Tensor, 5, |_| value);
        let bad = CodecError::BadScale { index: 0, value };
        assert_eq!((format.encode)(&original, Rounding::Nearest), Err(bad));
    }
}

#[rstest]
#[case(TQ1_0)]
#[case(TQ2_0)]
fn what_does_not_fit_is_refused(#[case] format: Format) {
    let multiple = CodecError::Multiple {
        format: format.name,
        what: "in_features",
        value: 255,
        multiple: 256,
    };
    assert_eq!((format.decode)(&[], 2, 255), Err(multiple.clone()));
    let narrow = ternary(2, 255, Tensor, 1, |_| 1.0);
    assert_eq!((format.encode)(&narrow, Rounding::Exact), Err(multiple));
    for size in [128, 384] {
        let scale = Group { size };
        let grouped = ternary(2, 512, scale.clone(), 1, |_| 1.0);
        let granularity = CodecError::Granularity {
            format: format.name,
            scale,
        };
        assert_eq!((format.encode)(&grouped, Rounding::Exact), Err(granularity));
    }
    let expected = 4 * format.block_bytes;
    for found in [0, expected - 1, expected + 1] {
        let length = CodecError::Length {
            format: format.name,
            what: "bytes",
            found,
            expected,
        };
        assert_eq!((format.decode)(&vec![0; found], 2, 512), Err(length));
    }
    let shape = (format.decode)(&[], 1 << 40, 1 << 20);
    assert!(matches!(shape, Err(CodecError::Layout(_))));
}

#[test]
fn a_tq2_0_code_3_is_refused() {
    let mut bytes =
        tq2_0::encode(&ternary(2, 512, Tensor, 1, |_| 1.0), Rounding::Exact).expect("fits");
    // Block 3, byte 40: weights 128 + 8 and every 32 after it.
    bytes[3 * 66 + 40] |= 0b0011_0000;
    let expected = CodecError::InvalidCode {
        format: "GGUF TQ2_0",
        row: 1,
        col: 256 + 128 + 8 + 64,
        code: 3,
    };
    assert_eq!(tq2_0::decode(&bytes, 2, 512), Err(expected));
}

#[test]
fn a_tq1_0_byte_that_is_no_number_is_refused() {
    let good = tq1_0::encode(&ternary(2, 512, Tensor, 1, |_| 1.0), Rounding::Exact).expect("fits");
    // 255 is 242, whose last digit is not 0: only wrong where four digits are stored.
    for (at, byte, wrong) in [
        (0, 255, false),
        (47, 255, false),
        (48, 255, true),
        (51, 20, true),
        (31, 20, true),
        (40, 0, false),
        (50, 0, false),
    ] {
        let mut bytes = good.clone();
        let offset = 2 * 54 + at;
        bytes[offset] = byte;
        let found = tq1_0::decode(&bytes, 2, 512).map(|_| ());
        let expected = CodecError::InvalidByte {
            format: "GGUF TQ1_0",
            offset,
            byte,
        };
        assert_eq!(
            found,
            if wrong { Err(expected) } else { Ok(()) },
            "{at} {byte}"
        );
    }
}

#[rstest]
#[case(TQ1_0)]
#[case(TQ2_0)]
fn a_scale_that_is_not_finite_is_refused(#[case] format: Format) {
    let original = ternary(2, 512, Tensor, 1, |_| 1.0);
    let mut bytes = (format.encode)(&original, Rounding::Exact).expect("exact");
    let end = 2 * format.block_bytes;
    bytes[end - 2..end].copy_from_slice(&f16::INFINITY.to_le_bytes());
    let value = f32::INFINITY;
    let expected = CodecError::BadScale { index: 1, value };
    assert_eq!((format.decode)(&bytes, 2, 512), Err(expected));
}

proptest! {
    #[test]
    fn matrices_survive(out in size(1, 9), k in size(256, 4), kind in 0..5usize, seed: u64) {
        let scale = match kind {
            0 => Tensor,
            1 => Row,
            2 => BLOCKS,
            3 => Group { size: 512 },
            _ => Segments { rows: vec![out] },
        };
        let original = ternary(out, k, scale, seed, |i| 0.5 + i as f32 / 128.0);
        for format in [TQ1_0, TQ2_0] {
            let bytes = (format.encode)(&original, Rounding::Exact).expect("exact");
            let decoded = (format.decode_groups)(&bytes, out, k).expect("valid");
            prop_assert_eq!(decoded.words(), original.words());
            prop_assert_eq!(decoded.dequantize(), original.dequantize());
            let collapsed = (format.decode)(&bytes, out, k).expect("valid");
            prop_assert_eq!(collapsed.dequantize(), original.dequantize());
            if original.layout().scale() == &Tensor {
                prop_assert!(same(&collapsed, &original));
            }
            prop_assert_eq!((format.encode)(&decoded, Rounding::Exact), Ok(bytes.clone()));
            prop_assert_eq!((format.encode)(&collapsed, Rounding::Exact), Ok(bytes));
        }
    }

    #[test]
    fn random_bytes_are_read_back_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 2 * 66)) {
        let _ = tq2_0::decode(&bytes, 2, 256);
        let _ = tq1_0::decode(&bytes[..108], 2, 256);
        // Valid digits make it past the first check.
        for byte in &mut bytes[..108] {
            *byte = (256 * (u32::from(*byte) % 81 * 3)).div_ceil(243) as u8;
        }
        if let Ok(matrix) = tq1_0::decode_groups(&bytes[..108], 2, 256) {
            let again = tq1_0::encode(&matrix, Rounding::Exact).expect("from f16");
            prop_assert_eq!(tq1_0::decode_groups(&again, 2, 256), Ok(matrix));
        }
    }
}
