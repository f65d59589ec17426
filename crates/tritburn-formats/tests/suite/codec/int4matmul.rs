//! int4matmul_kernels' dense and sparse words, against its own packers (`data/README.md`).

use half::f16;
use proptest::prelude::*;
use serde_json::Value;
use tritburn_formats::codec::int4matmul::{
    Bits, IntMatrix, SparseInt4, SparseWords, decode, decode_sparse, encode, encode_sparse,
};
use tritburn_formats::codec::{CodecError, Rounding};

use crate::common::arbitrary::size;
use crate::common::golden::{Golden, bits, integers};

const DENSE: &[u8] = include_bytes!("../../data/int4matmul_dense.safetensors");
const SPARSE: &str = include_str!("../../data/int4matmul_sparse_16_32.json");
const FORMAT: &str = "int4matmul";
const BITS: [Bits; 3] = [Bits::Two, Bits::Three, Bits::Four];

/// Shape, group size, scales and zeros of a case.
fn parts(case: &Value) -> ([usize; 2], Option<usize>, Vec<f16>, Vec<f16>) {
    let shape = &integers(&case["shape_out_in"])[..];
    let shape = [shape[0] as usize, shape[1] as usize];
    let group = case["group_size"].as_i64().expect("a group size");
    let group = usize::try_from(group).ok();
    let scales = case["scales_bits"].as_array().expect("scales");
    let scales = scales
        .iter()
        .map(|b| f16::from_bits(bits(b) as u16))
        .collect();
    let zeros = floats(&case["zeros_f16"]);
    (
        shape,
        group,
        scales,
        zeros.iter().map(|&z| f16::from_f64(z)).collect(),
    )
}

fn floats(value: &Value) -> Vec<f64> {
    let number = |v: &Value| v.as_f64().expect("a number");
    value
        .as_array()
        .expect("array")
        .iter()
        .map(number)
        .collect()
}

/// Compares `x · Wᵀ` with what the vectors say.
fn check_product(weights: &[f32], x: &[f64], y: &[f64], [out, k]: [usize; 2]) {
    assert_eq!(y.len(), x.len() / k * out);
    for (i, y) in y.iter().enumerate() {
        let row = &weights[i % out * k..][..k];
        let x = &x[i / out * k..][..k];
        let got: f64 = row.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum();
        assert!((got - y).abs() <= 1e-6 * y.abs().max(1.0), "{got} {y}");
    }
}

#[test]
fn golden_dense_words_both_ways() {
    let golden = Golden::open(DENSE);
    assert_eq!(golden.cases().len(), 6);
    for case in golden.cases() {
        let name = case["name"].as_str().expect("name");
        let (shape, group, scales, zeros) = parts(case);
        let width = match case["bits"].as_u64() {
            Some(2) => Bits::Two,
            Some(3) => Bits::Three,
            _ => Bits::Four,
        };
        let words: Vec<u32> = golden.tensor(&format!("{name}.packed_u32"));
        let codes: Vec<u8> = golden.tensor(&format!("{name}.q"));
        let expected = IntMatrix::new(shape, width, group, codes, scales.clone(), zeros.clone());
        let expected = expected.expect("valid");
        let decoded = decode(&words, shape, width, group, scales, zeros);
        assert_eq!(decoded, Ok(expected.clone()), "{name}");
        assert_eq!(encode(&expected), words, "{name}");

        let weights = expected.dequantize().expect("no exponent mode");
        let x = floats(&case["forward"]["x_f16"]);
        let y: Vec<f64> = golden.tensor(&format!("{name}.forward.y_f64"));
        check_product(&weights, &x, &y, shape);
    }
}

#[test]
fn golden_sparse_words_both_ways() {
    let file: Value = serde_json::from_str(SPARSE).expect("JSON");
    let cases = file["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 3);
    for case in cases {
        let name = case["name"].as_str().expect("name");
        let (shape, group, scales, zeros) = parts(case);
        let numbers = |field: &str| -> Vec<u32> {
            integers(&case[field]).iter().map(|&n| n as u32).collect()
        };
        let kept = numbers("mask");
        let codes = numbers("q")
            .iter()
            .zip(&kept)
            .map(|(&q, &m)| (q * m) as u8)
            .collect();
        let mask = kept
            .chunks(32)
            .map(|m| m.iter().rev().fold(0, |w, &bit| w << 1 | bit));
        let matrix = IntMatrix::new(
            shape,
            Bits::Four,
            group,
            codes,
            scales.clone(),
            zeros.clone(),
        );
        let expected = SparseInt4::new(matrix.expect("valid"), mask.collect()).expect("16:32");
        let words = SparseWords {
            weights: numbers("packed_u32"),
            mask: numbers("mask_u32"),
        };
        let decoded = decode_sparse(&words, shape, group, scales, zeros);
        assert_eq!(decoded, Ok(expected.clone()), "{name}");
        assert_eq!(encode_sparse(&expected), words, "{name}");

        let weights = expected.dequantize().expect("no exponent mode");
        let (x, y) = (&case["forward"]["x_f16"], &case["forward"]["y_f64"]);
        check_product(&weights, &floats(x), &floats(y), shape);
    }
}

fn dense(out: usize, k: usize, bits: Bits, group: Option<usize>, seed: u64) -> IntMatrix {
    let groups = group.map_or(1, |size| k.div_ceil(size));
    let limit = 1 << bits as u8;
    let codes = crate::common::noise(out * k, seed)
        .iter()
        .map(|x| (x.abs() * 64.0) as u8 % limit)
        .collect();
    let [scales, zeros] = [1, 2].map(|s| {
        let values = crate::common::noise(groups * out, seed ^ s);
        let positive = |&x: &f32| f16::from_f32(x.abs() + 0.001);
        values.iter().map(positive).collect()
    });
    IntMatrix::new([out, k], bits, group, codes, scales, zeros).expect("valid")
}

/// Half of every 32 inputs of a dense matrix, at random.
fn sparse(out: usize, k: usize, seed: u64) -> SparseInt4 {
    let full = dense(out, k, Bits::Four, Some(64), seed);
    let order = crate::common::noise(out * k, seed ^ 5);
    let mask: Vec<u32> = order
        .chunks(32)
        .map(|keys| {
            let rank = |l: usize| (0..32).filter(|&o| (keys[o], o) < (keys[l], l)).count();
            (0..32)
                .filter(|&l| rank(l) < 16)
                .fold(0, |mask, l| mask | 1 << l)
        })
        .collect();
    let kept = |(i, &code): (usize, &u8)| code * (mask[i / 32] >> (i % 32) & 1) as u8;
    let codes = full.codes().iter().enumerate().map(kept).collect();
    let (scales, zeros) = (full.scales().to_vec(), full.zeros().to_vec());
    let matrix = IntMatrix::new([out, k], Bits::Four, Some(64), codes, scales, zeros);
    SparseInt4::new(matrix.expect("valid"), mask).expect("16:32")
}

#[test]
fn dropped_weights_are_zero_whatever_the_zero_point() {
    let matrix = sparse(3, 64, 1);
    let weights = matrix.dequantize().expect("positive scales");
    let full = matrix.matrix().dequantize().expect("positive scales");
    let mut dropped = 0;
    for (i, &w) in weights.iter().enumerate() {
        if matrix.mask()[i / 32] >> (i % 32) & 1 == 0 {
            assert_eq!(w, 0.0);
            dropped += usize::from(full[i] != 0.0);
        } else {
            assert_eq!(w, full[i]);
        }
    }
    assert_eq!(dropped, 96);
}

#[test]
fn wrong_data_is_refused() {
    let one = vec![f16::ONE; 2];
    let length = |what, found, expected| {
        Err(CodecError::Length {
            format: FORMAT,
            what,
            found,
            expected,
        })
    };
    let read = |words: usize, group, scales: usize, zeros: usize| {
        let [scales, zeros] = [scales, zeros].map(|n| vec![f16::ONE; n]);
        decode(&vec![0; words], [2, 96], Bits::Three, group, scales, zeros).map(|_| ())
    };
    assert_eq!(read(18, None, 2, 2), Ok(()));
    assert_eq!(read(18, Some(64), 4, 4), Ok(()));
    assert_eq!(read(17, None, 2, 2), length("words", 17, 18));
    assert_eq!(read(18, Some(64), 2, 2), length("scales", 2, 4));
    assert_eq!(read(18, None, 2, 3), length("zeros", 3, 2));
    let multiple = |what, value, multiple| {
        Err(CodecError::Multiple {
            format: FORMAT,
            what,
            value,
            multiple,
        })
    };
    assert_eq!(read(18, Some(32), 6, 6), multiple("group size", 32, 64));
    assert!(matches!(
        read(18, Some(0), 2, 2),
        Err(CodecError::Layout(_))
    ));
    let shaped = |shape| decode(&[], shape, Bits::Four, None, vec![], vec![]).map(|_| ());
    assert_eq!(shaped([2, 40]), multiple("in_features", 40, 32));
    assert!(matches!(shaped([0, 32]), Err(CodecError::Layout(_))));
    for shape in [[usize::MAX, 1 << 40], [1 << 40, usize::MAX - 31]] {
        assert!(matches!(
            shaped(shape),
            Err(CodecError::Length { found: 0, .. })
        ));
    }
    let mut codes = vec![7; 64];
    codes[40] = 8;
    let invalid = CodecError::InvalidCode {
        format: FORMAT,
        row: 1,
        col: 8,
        code: 8,
    };
    let found = IntMatrix::new([2, 32], Bits::Three, None, codes, one.clone(), one);
    assert_eq!(found, Err(invalid));
}

#[test]
fn wrong_masks_are_refused() {
    let good = sparse(2, 64, 1);
    let mut words = encode_sparse(&good);
    let full = words.mask[3];
    let bit = full & full.wrapping_neg();
    let (scales, zeros) = (good.matrix().scales(), good.matrix().zeros());
    let read = |words: &SparseWords| {
        decode_sparse(words, [2, 64], Some(64), scales.to_vec(), zeros.to_vec())
    };
    assert_eq!(read(&words), Ok(good.clone()));
    for (mask, kept) in [(full & !bit, 15), (u32::MAX, 32), (0, 0)] {
        words.mask[3] = mask;
        let (row, group) = (1, 1);
        assert_eq!(read(&words), Err(CodecError::Kept { row, group, kept }));
    }
    words.mask.pop();
    assert!(matches!(
        read(&words),
        Err(CodecError::Length { what: "masks", .. })
    ));

    let codes = vec![9; 128];
    let ones = vec![f16::ONE; 2];
    let matrix = IntMatrix::new(
        [2, 64],
        Bits::Four,
        Some(64),
        codes,
        ones.clone(),
        ones.clone(),
    );
    let mut mask = vec![0xffff; 4];
    let found = SparseInt4::new(matrix.expect("valid"), mask.clone());
    let (row, col, code) = (0, 16, 9);
    assert_eq!(found, Err(CodecError::Dropped { row, col, code }));
    mask[2] = 0x1ffff;
    let zeros = IntMatrix::new([2, 64], Bits::Four, None, vec![0; 128], ones.clone(), ones);
    let found = SparseInt4::new(zeros.expect("valid"), mask);
    let (row, group, kept) = (1, 0, 17);
    assert_eq!(found, Err(CodecError::Kept { row, group, kept }));
    let three = dense(2, 64, Bits::Three, None, 1);
    let found = SparseInt4::new(three, vec![0xffff; 4]);
    assert!(matches!(found, Err(CodecError::Multiple { value: 3, .. })));
}

#[test]
fn a_negative_scale_means_signed_powers_of_two() {
    for bits in BITS {
        let levels = 1 << bits as u8;
        let half = levels / 2;
        let codes: Vec<u8> = (0..64).map(|i| i % levels).collect();
        let scales = [0.25, -0.25].map(f16::from_f32).to_vec();
        let zeros = [0.5, 0.5].map(f16::from_f32).to_vec();
        let matrix = IntMatrix::new([2, 32], bits, None, codes, scales, zeros).expect("valid");
        let weights = matrix.dequantize().expect("finite scales");
        for code in 0..levels {
            let linear = (f32::from(code) - 0.5) * 0.25;
            assert_eq!(weights[usize::from(code)], linear, "{bits:?}");
            let power = f32::from(1u8 << (code % half)) * 0.25;
            let signed = if code < half { power } else { -power };
            assert_eq!(weights[32 + usize::from(code)], signed + 0.5, "{bits:?}");
        }
        let (index, value) = (1, -0.25);
        assert_eq!(
            matrix.to_affine(),
            Err(CodecError::ExponentMode { index, value })
        );
    }
}

#[test]
fn affine_matrices_come_and_go() {
    for bits in BITS {
        let matrix = dense(5, 160, bits, Some(64), 3);
        let affine = matrix.to_affine().expect("positive scales");
        assert_eq!(affine.dequantize(), matrix.dequantize().expect("positive"));
        assert_eq!(IntMatrix::from_affine(&affine, Rounding::Exact), Ok(matrix));
    }
    let matrix = sparse(5, 192, 4);
    let affine = matrix.to_affine().expect("positive scales");
    assert!(affine.layout().is_sparse());
    assert_eq!(affine.dequantize(), matrix.dequantize().expect("positive"));
    let format = FORMAT;
    let what = "a mask";
    assert_eq!(
        IntMatrix::from_affine(&affine, Rounding::Exact),
        Err(CodecError::NoPlace { format, what })
    );
    assert_eq!(
        SparseInt4::from_affine(&affine, Rounding::Exact),
        Ok(matrix)
    );
    let full = dense(5, 64, Bits::Four, None, 3)
        .to_affine()
        .expect("affine");
    assert!(matches!(
        SparseInt4::from_affine(&full, Rounding::Exact),
        Err(CodecError::NoPlace { .. })
    ));
}

proptest! {
    #[test]
    fn matrices_survive(out in size(1, 40), k in size(32, 9), group in 0..3usize, seed: u64) {
        let group = (group > 0).then_some(64 * group);
        for bits in BITS {
            let original = dense(out, k, bits, group, seed);
            let words = encode(&original);
            let (scales, zeros) = (original.scales().to_vec(), original.zeros().to_vec());
            prop_assert_eq!(decode(&words, [out, k], bits, group, scales, zeros), Ok(original));
        }
        let original = sparse(out, k, seed);
        let words = encode_sparse(&original);
        let matrix = original.matrix();
        let (scales, zeros) = (matrix.scales().to_vec(), matrix.zeros().to_vec());
        let decoded = decode_sparse(&words, [out, k], matrix.group_size(), scales, zeros);
        prop_assert_eq!(decoded, Ok(original));
    }

    #[test]
    fn random_words_are_read_back(words in prop::collection::vec(any::<u32>(), 36)) {
        for (bits, k) in [(Bits::Two, 192), (Bits::Three, 128), (Bits::Four, 96)] {
            let ones = vec![f16::ONE; 3];
            let matrix = decode(&words, [3, k], bits, None, ones.clone(), ones).expect("any codes");
            prop_assert_eq!(encode(&matrix), words.clone());
        }
    }
}
