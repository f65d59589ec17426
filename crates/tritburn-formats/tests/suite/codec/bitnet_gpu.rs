//! BitNet GPU int2, against its own packer and checkpoint converter (`data/README.md`).

use half::bf16;
use proptest::prelude::*;
use serde_json::Value;
use tritburn_formats::ScaleGranularity::{Group, Row, Segments, Tensor};
use tritburn_formats::codec::{CodecError, Rounding, bitnet_gpu};
use tritburn_formats::matrix::{
    concat_rows, reorder_dense_rows, reorder_rows, rotary_half_split, rotary_interleaved,
    split_rows,
};
use tritburn_formats::quantize::quantize_weights;
use tritburn_formats::{LayoutError, MatrixError, PackedMatrix, WeightCode};

use crate::common::arbitrary::{same, size, ternary};
use crate::common::golden::{Golden, bits, bytes, integers, matrix, shape};

const CASES: &str = include_str!("../../data/bitnet_gpu_int2.json");
const CHECKPOINT: &[u8] = include_bytes!("../../data/bitnet_gpu_checkpoint.safetensors");
const FORMAT: &str = "BitNet GPU int2";

fn scale(value: f32) -> [bf16; 4] {
    [bf16::from_f32(value), bf16::ZERO, bf16::ZERO, bf16::ZERO]
}

#[test]
fn golden_bytes_both_ways() {
    let file: Value = serde_json::from_str(CASES).expect("JSON");
    let mut segmented = 0;
    for case in file["cases"].as_array().expect("cases") {
        let (name, out, k) = shape(case);
        let packed = bytes(&case["packed_hex"]);
        let weights: Vec<i8> = integers(&case["weights"])
            .iter()
            .map(|&w| w as i8)
            .collect();
        if let Some(at) = weights.iter().position(|&w| w == -2) {
            // The full range of int2 is not ternary: where, shows that the layout was read right.
            let (row, col, code) = (at / k, at % k, 0);
            let invalid = CodecError::InvalidCode {
                format: FORMAT,
                row,
                col,
                code,
            };
            assert_eq!(
                bitnet_gpu::decode(&packed, &[out], k, scale(1.0)),
                Err(invalid)
            );
            assert_eq!(name, "n16_k32_full_int2");
            continue;
        }
        let expected = matrix(&weights, out, k, Tensor, &[0.5]);
        let decoded = bitnet_gpu::decode(&packed, &[out], k, scale(0.5));
        assert_eq!(decoded, Ok(expected.clone()), "{name}");
        let encoded = bitnet_gpu::encode(&expected, Rounding::Exact).expect("fits");
        assert_eq!(encoded.data, packed, "{name}");
        assert_eq!(encoded.weight_scale, scale(0.5));

        let forward = &case["forward"];
        let rows: Vec<usize> = integers(&forward["segment_rows"])
            .iter()
            .map(|&r| r as usize)
            .collect();
        let stored = forward["weight_scale_bits"].as_array().expect("scales");
        let stored: [bf16; 4] = std::array::from_fn(|i| bf16::from_bits(bits(&stored[i]) as u16));
        let fused = bitnet_gpu::decode(&packed, &rows, k, stored).expect("two segments");
        assert_eq!(fused.layout().scale(), &Segments { rows: rows.clone() });
        let encoded = bitnet_gpu::encode(&fused, Rounding::Exact).expect("fits");
        assert_eq!((encoded.data, encoded.weight_scale), (packed, stored));
        // y = acc / act_scale · scale of the segment.
        let a = forward["act_scale_f32"].as_f64().expect("a number");
        let x = integers(&forward["x_i8"]);
        for (row, y) in forward["y_f64"].as_array().expect("y").iter().enumerate() {
            let acc: i64 = (0..k)
                .map(|c| x[c] * fused.value(row, c).unwrap() as i64)
                .sum();
            let gamma = fused.scales()[usize::from(row >= rows[0])];
            let got = acc as f64 / a * f64::from(gamma);
            assert!((got - y.as_f64().expect("y")).abs() < 1e-9, "{got} {y}");
        }
        segmented += 1;
    }
    assert_eq!(segmented, 3);
}

/// γ is the mean magnitude as the converter computes it, its bf16 rounding included.
fn quantize(golden: &Golden, name: &str, out: usize, k: usize) -> PackedMatrix {
    let weights: Vec<f32> = golden.tensor(&format!("hf.model.layers.0.{name}.weight"));
    let layout = crate::common::layout(out, k, WeightCode::Ternary, Tensor);
    quantize_weights(&weights, &layout).unwrap()
}

#[test]
fn golden_checkpoint_from_its_source_and_back() {
    let golden = Golden::open(CHECKPOINT);
    let part = |name: &str, out, k| quantize(&golden, name, out, k);
    let interleave = |m: PackedMatrix| {
        let order = rotary_interleaved(m.layout().out_features(), 16).expect("heads");
        reorder_rows(&m, &order).expect("an order")
    };
    for (name, parts) in [
        (
            "attention.wqkv",
            vec![
                interleave(part("self_attn.q_proj", 32, 32)),
                interleave(part("self_attn.k_proj", 16, 32)),
                part("self_attn.v_proj", 16, 32),
            ],
        ),
        ("attention.wo", vec![part("self_attn.o_proj", 32, 32)]),
        (
            "feed_forward.w13",
            vec![part("mlp.gate_proj", 64, 32), part("mlp.up_proj", 64, 32)],
        ),
        ("feed_forward.w2", vec![part("mlp.down_proj", 32, 64)]),
    ] {
        let key = format!("int2.layers.0.{name}.weight");
        let packed: Vec<u8> = golden.tensor(&key);
        let stored: Vec<u16> = golden.tensor(&format!("{key}_scale"));
        let stored: [bf16; 4] = std::array::from_fn(|i| bf16::from_bits(stored[i]));

        let encoded = match parts.as_slice() {
            [one] => bitnet_gpu::encode(one, Rounding::Nearest),
            _ => bitnet_gpu::encode(&concat_rows(&parts).expect("parts"), Rounding::Nearest),
        };
        let encoded = encoded.expect("fits");
        assert_eq!(encoded.data, packed, "{name}");
        assert_eq!(encoded.weight_scale, stored, "{name}");

        let rows: Vec<usize> = parts.iter().map(|m| m.layout().out_features()).collect();
        let k = parts[0].layout().in_features();
        let fused = bitnet_gpu::decode(&packed, &rows, k, stored).expect("valid");
        for (got, expected) in split_rows(&fused, &rows).expect("rows").iter().zip(&parts) {
            assert_eq!(got.words(), expected.words(), "{name}");
        }
        // The dense twin holds the same weights.
        let dense: Vec<f32> = golden.tensor(&format!("dense.layers.0.{name}.weight"));
        for (i, w) in dense.iter().enumerate() {
            let sign = if *w == 0.0 { 0 } else { w.signum() as i32 };
            assert_eq!(fused.value(i / k, i % k), Some(sign), "{name} {i}");
        }
    }
}

#[test]
fn rotary_orders_undo_each_other() {
    let order = rotary_interleaved(12, 6).expect("two heads");
    assert_eq!(order, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
    let back = rotary_half_split(12, 6).expect("two heads");
    for scale in [
        Tensor,
        Row,
        Group { size: 16 },
        Segments { rows: vec![6, 6] },
    ] {
        let original = ternary(12, 40, scale, 3, |i| i as f32 + 1.0);
        let moved = reorder_rows(&original, &order).expect("an order");
        assert_ne!(moved, original);
        let dense = reorder_dense_rows(&original.dequantize(), 40, &order);
        assert_eq!(dense, Ok(moved.dequantize()));
        assert_eq!(reorder_rows(&moved, &back), Ok(original));
    }
    for (rows, head_size) in [(12, 0), (12, 3), (12, 8), (6, 12)] {
        let expected = Err(MatrixError::HeadSize { rows, head_size });
        assert_eq!(rotary_interleaved(rows, head_size), expected);
        assert_eq!(rotary_half_split(rows, head_size), expected);
    }
}

#[test]
fn what_is_no_order_is_refused() {
    let two = ternary(3, 20, Segments { rows: vec![1, 2] }, 3, |i| i as f32);
    for (order, row) in [
        (&[0, 1, 1][..], 2),
        (&[0, 1, 3], 2),
        (&[0, 1], 2),
        (&[0, 1, 2, 0], 3),
        (&[1, 0, 2], 0),
    ] {
        let expected = Err(MatrixError::RowOrder { row, rows: 3 });
        assert_eq!(reorder_rows(&two, order), expected);
    }
    assert!(reorder_rows(&two, &[0, 2, 1]).is_ok());
    let length = MatrixError::Length {
        what: "values of the rows",
        found: 7,
        expected: 8,
    };
    assert_eq!(reorder_dense_rows(&[0; 7], 4, &[1, 0]), Err(length));
    let order = MatrixError::RowOrder { row: 1, rows: 2 };
    assert_eq!(reorder_dense_rows(&[0; 8], 4, &[1, 1]), Err(order));
}

#[test]
fn wrong_data_is_refused() {
    let good = bitnet_gpu::encode(&ternary(32, 64, Tensor, 1, |_| 1.0), Rounding::Exact)
        .expect("fits")
        .data;
    for found in [0, 511, 513] {
        let length = CodecError::Length {
            format: FORMAT,
            what: "bytes",
            found,
            expected: 512,
        };
        let mut bytes = good.clone();
        bytes.resize(found, 0);
        assert_eq!(
            bitnet_gpu::decode(&bytes, &[32], 64, scale(1.0)),
            Err(length)
        );
    }
    for (rows, k, what, value, multiple) in [
        (24, 64, "out_features", 24, 16),
        (32, 48, "in_features", 48, 32),
    ] {
        let expected = CodecError::Multiple {
            format: FORMAT,
            what,
            value,
            multiple,
        };
        assert_eq!(
            bitnet_gpu::decode(&[], &[rows], k, scale(1.0)),
            Err(expected.clone())
        );
        let odd = ternary(rows, k, Tensor, 1, |_| 1.0);
        assert_eq!(bitnet_gpu::encode(&odd, Rounding::Exact), Err(expected));
    }
    let two = [bf16::ONE, bf16::ONE, bf16::ZERO, bf16::ZERO];
    let unused = CodecError::UnusedScale {
        index: 1,
        value: 1.0,
        segments: 1,
    };
    assert_eq!(bitnet_gpu::decode(&good, &[32], 64, two), Err(unused));
    assert!(bitnet_gpu::decode(&good, &[10, 22], 64, two).is_ok());
    assert!(matches!(
        bitnet_gpu::decode(&good, &[usize::MAX, usize::MAX], 64, two),
        Err(CodecError::Layout(LayoutError::TooLarge { .. }))
    ));
    assert!(matches!(
        bitnet_gpu::decode(&good, &[], 64, [bf16::ZERO; 4]),
        Err(CodecError::Layout(LayoutError::Empty { .. }))
    ));
    let five = Segments {
        rows: vec![8, 8, 8, 4, 4],
    };
    let granularity = CodecError::Granularity {
        format: FORMAT,
        scale: five.clone(),
    };
    assert_eq!(
        bitnet_gpu::decode(&good, &[8, 8, 8, 4, 4], 64, two),
        Err(granularity.clone())
    );
    let fused = ternary(32, 64, five, 1, |_| 1.0);
    assert_eq!(
        bitnet_gpu::encode(&fused, Rounding::Exact),
        Err(granularity)
    );
}

#[test]
fn scales_are_rounded_only_on_request() {
    let value = 0.1f32;
    let fused = ternary(32, 64, Segments { rows: vec![16, 16] }, 1, |i| {
        [0.5, value][i]
    });
    let stored = bf16::from_f32(value);
    let inexact = CodecError::InexactScale {
        index: 1,
        value,
        stored: stored.to_f32(),
    };
    assert_eq!(bitnet_gpu::encode(&fused, Rounding::Exact), Err(inexact));
    let encoded = bitnet_gpu::encode(&fused, Rounding::Nearest).expect("rounded");
    assert_eq!(encoded.weight_scale[..2], [bf16::from_f32(0.5), stored]);
}

proptest! {
    #[test]
    fn matrices_survive(out in size(16, 6), k in size(32, 7), cut in 1..90usize, seed: u64) {
        let rows = if cut < out { vec![cut, out - cut] } else { vec![out] };
        let scale = if cut < out { Segments { rows: rows.clone() } } else { Tensor };
        let original = ternary(out, k, scale, seed, |i| 0.5 + i as f32);
        let encoded = bitnet_gpu::encode(&original, Rounding::Exact).expect("fits");
        let decoded = bitnet_gpu::decode(&encoded.data, &rows, k, encoded.weight_scale);
        prop_assert!(same(&decoded.expect("valid"), &original));
    }

    #[test]
    fn random_bytes_are_refused_or_read_back(mut bytes in prop::collection::vec(any::<u8>(), 128)) {
        let _ = bitnet_gpu::decode(&bytes, &[16], 32, scale(1.0));
        bytes.iter_mut().for_each(|b| *b |= 0x55);
        let matrix = bitnet_gpu::decode(&bytes, &[16], 32, scale(1.0)).expect("no code 0");
        prop_assert_eq!(bitnet_gpu::encode(&matrix, Rounding::Exact).expect("fits").data, bytes);
    }
}
