//! BitMedViT's three tile orders, against its own packer (`data/README.md`).

use half::bf16;
use proptest::prelude::*;
use rstest::rstest;
use tritburn_formats::ScaleGranularity::{Row, Tensor};
use tritburn_formats::codec::bitmedvit::{self, Tile};
use tritburn_formats::codec::{CodecError, Rounding, ScaleDirection, bitnet_gpu};

use crate::common::arbitrary::{same, size, ternary};
use crate::common::golden::{Golden, bits, matrix, shape};

const FILE: &[u8] = include_bytes!("../../data/bitmedvit_int2.safetensors");
const FORMAT: &str = "BitMedViT int2";

#[rstest]
#[case("16_16_16", Tile::M16N16K16)]
#[case("8_32_16", Tile::M8N32K16)]
#[case("32_8_16", Tile::M32N8K16)]
fn golden_bytes_both_ways(#[case] variant: &str, #[case] tile: Tile) {
    let golden = Golden::open(FILE);
    for case in golden.cases() {
        let (name, out, k) = shape(case);
        let stored = bf16::from_bits(bits(&case["weight_scale_bits"]) as u16);
        let gamma = ScaleDirection::Divide
            .to_gamma(stored.to_f32())
            .expect("finite");
        let packed: Vec<u8> = golden.tensor(&format!("{name}.packed.{variant}.packed"));
        let weights: Vec<i8> = golden.tensor(&format!("{name}.weights"));
        let expected = matrix(&weights, out, k, Tensor, &[gamma]);
        let decoded = bitmedvit::decode(&packed, out, k, tile, gamma);
        assert_eq!(decoded, Ok(expected.clone()), "{name}");
        let encoded = bitmedvit::encode(&expected, tile).expect("fits");
        assert_eq!(encoded.data, packed, "{name}");
        let written = ScaleDirection::Divide.to_bf16(encoded.gamma, Rounding::Exact);
        assert_eq!(written, Ok(stored));

        // y = acc / (act_scale · weight_scale).
        let x: Vec<i8> = golden.tensor(&format!("{name}.forward.x_i8"));
        let acc: Vec<i32> = golden.tensor(&format!("{name}.forward.acc_i32"));
        let y: Vec<f64> = golden.tensor(&format!("{name}.forward.y_f64"));
        for (i, (acc, y)) in acc.iter().zip(y).enumerate() {
            let (token, row) = (i / out, i % out);
            let product = |c| i32::from(x[token * k + c]) * expected.value(row, c).unwrap();
            assert_eq!((0..k).map(product).sum::<i32>(), *acc, "{name} {i}");
            let a = case["forward"]["act_scale_bf16"][token]
                .as_f64()
                .expect("a scale");
            let got = f64::from(*acc) / a * f64::from(gamma);
            assert!((got - y).abs() <= 1e-6 * y.abs().max(1.0), "{got} {y}");
        }
    }
}

#[test]
fn the_first_order_is_that_of_bitnet_gpu() {
    let original = ternary(48, 96, Tensor, 3, |_| 0.5);
    let gpu = bitnet_gpu::encode(&original, Rounding::Exact).expect("fits");
    let ours = bitmedvit::encode(&original, Tile::M16N16K16).expect("fits");
    assert_eq!(ours.data, gpu.data);
}

#[test]
fn what_does_not_fit_is_refused() {
    for (tile, out, k, what, value, multiple) in [
        (Tile::M16N16K16, 24, 32, "out_features", 24, 16),
        (Tile::M8N32K16, 48, 32, "out_features", 48, 32),
        (Tile::M32N8K16, 8, 32, "out_features", 8, 16),
        (Tile::M32N8K16, 16, 48, "in_features", 48, 32),
    ] {
        let expected = CodecError::Multiple {
            format: FORMAT,
            what,
            value,
            multiple,
        };
        let found = bitmedvit::decode(&[], out, k, tile, 1.0);
        assert_eq!(found, Err(expected.clone()));
        let odd = ternary(out, k, Tensor, 1, |_| 1.0);
        assert_eq!(bitmedvit::encode(&odd, tile), Err(expected));
    }
    let tile = Tile::default();
    let rows = ternary(32, 32, Row, 1, |i| 1.0 + i as f32);
    assert!(matches!(
        bitmedvit::encode(&rows, tile),
        Err(CodecError::ScalesDiffer { index: 1, .. })
    ));
    let length = CodecError::Length {
        format: FORMAT,
        what: "bytes",
        found: 255,
        expected: 256,
    };
    assert_eq!(
        bitmedvit::decode(&[0x55; 255], 32, 32, tile, 1.0),
        Err(length)
    );
    // Row 17, columns 16..: word 32 + 16·0 + 8·1 + 1; column 16 + 6 is field 1 of byte 2.
    let mut bytes = [0xaa; 256];
    bytes[4 * 41 + 2] = 0b1010_0010;
    let invalid = CodecError::InvalidCode {
        format: FORMAT,
        row: 17,
        col: 16 + 6,
        code: 0,
    };
    assert_eq!(bitmedvit::decode(&bytes, 32, 32, tile, 1.0), Err(invalid));
    assert!(matches!(
        bitmedvit::decode(&[], usize::MAX - 31, 32, tile, 1.0),
        Err(CodecError::Layout(_))
    ));
}

proptest! {
    #[test]
    fn matrices_survive(out in size(32, 4), k in size(32, 7), seed: u64) {
        let original = ternary(out, k, Tensor, seed, |_| 0.5);
        for tile in [Tile::M16N16K16, Tile::M8N32K16, Tile::M32N8K16] {
            let encoded = bitmedvit::encode(&original, tile).expect("fits");
            let decoded = bitmedvit::decode(&encoded.data, out, k, tile, encoded.gamma);
            prop_assert!(same(&decoded.expect("valid"), &original));
        }
    }
}
