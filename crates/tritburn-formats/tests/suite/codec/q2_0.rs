//! GGUF Q2_0 in both blocks, by its definition: there are no bytes of another packer to compare with.

use half::f16;
use proptest::prelude::*;
use rstest::rstest;
use tritburn_formats::ScaleGranularity::{Group, Row, Segments, Tensor};
use tritburn_formats::codec::gguf::q2_0::{self, Block};
use tritburn_formats::codec::{CodecError, Rounding};

use crate::common::arbitrary::{same, size, ternary};
use crate::common::golden::matrix;

const FORMAT: &str = "GGUF Q2_0";

#[rstest]
#[case(Block::B64, 64, 18)]
#[case(Block::B128, 128, 34)]
fn bytes_follow_their_formula(#[case] block: Block, #[case] size: usize, #[case] bytes: usize) {
    assert_eq!((block.weights(), block.bytes()), (size, bytes));
    let scale = |i| 0.25 * (1 + i) as f32;
    let original = ternary(3, 256, Group { size }, 9, scale);
    let stored = q2_0::encode(&original, block, Rounding::Exact).expect("exact");
    assert_eq!(stored.len(), 3 * 256 / size * bytes);
    for (i, stored) in stored.chunks(bytes).enumerate() {
        let d = f16::from_le_bytes([stored[0], stored[1]]).to_f32();
        assert_eq!(d, scale(i));
        for w in 0..size {
            let code = stored[2 + w / 4] >> (2 * (w % 4)) & 3;
            let (row, col) = ((i * size + w) / 256, (i * size + w) % 256);
            assert_eq!(original.code(row, col), Some(code.into()), "{i} {w}");
        }
    }
    assert_eq!(q2_0::decode(&stored, 3, 256), Ok(original.clone()));
    assert_eq!(q2_0::decode_blocks(&stored, 3, 256, block), Ok(original));
}

#[test]
fn the_number_of_bytes_tells_the_block() {
    for weights in [64, 128, 192, 4096 * 64, 1 << 20] {
        assert_eq!(Block::of(weights, weights / 64 * 18), Some(Block::B64));
        let large = (weights % 128 == 0).then_some(Block::B128);
        assert_eq!(Block::of(weights, weights / 128 * 34), large);
        assert_eq!(Block::of(weights, weights / 64 * 18 + 1), None);
    }
    assert_eq!(Block::of(usize::MAX - 63, 18), None);
    for found in [0, 17, 19, 33, 35, 72] {
        let length = CodecError::Length {
            format: FORMAT,
            what: "bytes",
            found,
            expected: 36,
        };
        assert_eq!(q2_0::decode(&vec![0; found], 1, 128), Err(length));
    }
    assert!(q2_0::decode(&[0x55; 36], 1, 128).is_ok());
    assert!(q2_0::decode(&[0x55; 34], 1, 128).is_ok());
}

#[test]
fn a_code_3_and_a_scale_that_is_no_number_are_refused() {
    let mut bytes = vec![0; 4 * 18];
    bytes[2 * 18 + 2 + 5] = 0b11_00_00;
    let invalid = CodecError::InvalidCode {
        format: FORMAT,
        row: 1,
        col: 22,
        code: 3,
    };
    assert_eq!(q2_0::decode(&bytes, 2, 128), Err(invalid));
    for (bits, value) in [(0x7c00, f32::INFINITY), (0xfc00, f32::NEG_INFINITY)] {
        let mut bytes = vec![0; 4 * 18];
        bytes[3 * 18..3 * 18 + 2].copy_from_slice(&u16::to_le_bytes(bits));
        let bad = CodecError::BadScale { index: 3, value };
        assert_eq!(q2_0::decode(&bytes, 2, 128), Err(bad));
    }
    let zero = q2_0::decode(&[0; 18], 1, 64).expect("valid");
    assert_eq!(zero.scales(), [0.0]);
    assert_eq!(zero.without_zero_scales().expect("ternary").scales(), [1.0]);
}

#[test]
fn what_does_not_fit_is_refused() {
    for (block, k) in [(Block::B64, 96), (Block::B128, 192)] {
        let multiple = CodecError::Multiple {
            format: FORMAT,
            what: "in_features",
            value: k,
            multiple: block.weights(),
        };
        let odd = ternary(2, k, Tensor, 1, |_| 1.0);
        assert_eq!(
            q2_0::encode(&odd, block, Rounding::Exact),
            Err(multiple.clone())
        );
        assert_eq!(q2_0::decode_blocks(&[], 2, k, block), Err(multiple));
    }
    for size in [32, 96] {
        let scale = Group { size };
        let grouped = ternary(2, 192, scale.clone(), 1, |_| 1.0);
        let granularity = CodecError::Granularity {
            format: FORMAT,
            scale,
        };
        let found = q2_0::encode(&grouped, Block::B64, Rounding::Exact);
        assert_eq!(found, Err(granularity));
    }
    let shape = q2_0::decode(&[], usize::MAX, 64);
    assert!(matches!(shape, Err(CodecError::Layout(_))));
    let tenth = ternary(2, 128, Row, 1, |i| [0.5, 0.1][i]);
    let inexact = CodecError::InexactScale {
        index: 1,
        value: 0.1,
        stored: f16::from_f32(0.1).to_f32(),
    };
    let found = q2_0::encode(&tenth, Block::B64, Rounding::Exact);
    assert_eq!(found, Err(inexact));
    assert!(q2_0::encode(&tenth, Block::B64, Rounding::Nearest).is_ok());
}

#[test]
fn coarser_scales_are_written_for_every_block() {
    let weights = [[1; 128], [-1; 128], [0; 128]].concat();
    for (scale, scales) in [
        (Tensor, vec![0.5]),
        (Row, vec![0.5; 3]),
        (Segments { rows: vec![1, 2] }, vec![0.5; 2]),
        (Group { size: 128 }, vec![0.5; 3]),
        (Group { size: 1024 }, vec![0.5; 3]),
    ] {
        let original = matrix(&weights, 3, 128, scale, &scales);
        let bytes = q2_0::encode(&original, Block::B64, Rounding::Exact).expect("exact");
        let decoded = q2_0::decode(&bytes, 3, 128).expect("valid");
        assert_eq!(decoded.scales(), [0.5; 6]);
        assert_eq!(decoded.dequantize(), original.dequantize());
    }
}

proptest! {
    #[test]
    fn matrices_survive(out in size(1, 40), units in 1..12usize, seed: u64) {
        for block in [Block::B64, Block::B128] {
            let size = block.weights();
            let original = ternary(out, units * size, Group { size }, seed, |i| 0.5 + i as f32);
            let bytes = q2_0::encode(&original, block, Rounding::Exact).expect("exact");
            let decoded = q2_0::decode(&bytes, out, units * size).expect("valid");
            prop_assert!(same(&decoded, &original));
        }
    }
}
