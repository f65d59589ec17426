//! The fused operations of a decoder against plain host arithmetic.

mod attention;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use rstest::rstest;
use tritburn::formats::QuantizedActivations;
use tritburn::transformer::{
    self, GatedActivation, Heads, Norm, rotary_frequencies, rotary_table, scaled_rotary_table,
};
use tritburn::{Error, ops};

use crate::common::{matrix, relative_error, to_vec, values};

const EPSILON: f32 = 1e-5;

/// Flex; what runs on CubeCL devices is tested in the kernel crate.
fn devices() -> Vec<Device> {
    #[cfg(feature = "flex")]
    return vec![Device::flex()];
    #[cfg(not(feature = "flex"))]
    Vec::new()
}

fn vector(seed: u64, len: usize, device: &Device) -> Tensor<1> {
    Tensor::from_data(TensorData::new(values(seed, len), [len]), device)
}

fn words(values: &[u32], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(
        TensorData::new(values.to_vec(), [values.len()]),
        (device, DType::U32),
    )
}

fn word_vec(tensor: Tensor<1, Int>) -> Vec<u32> {
    tensor.into_data().convert::<u32>().try_into_vec().unwrap()
}

fn norm(x: &[f32], gamma: &[f32]) -> Vec<f32> {
    let mean = x.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / x.len() as f64;
    let factor = 1.0 / (mean + f64::from(EPSILON)).sqrt();
    x.iter()
        .zip(gamma)
        .map(|(&x, &g)| (f64::from(g) * f64::from(x) * factor) as f32)
        .collect()
}

/// Int8 activations may differ by one where a value lies next to a rounding tie.
fn assert_quantized(codes: Tensor<1, Int>, scales: Tensor<1>, expected: &[f32], cols: usize) {
    let expected = QuantizedActivations::quantize(expected, cols).unwrap();
    let found = word_vec(codes);
    let bytes = |words: &[u32]| -> Vec<i8> {
        words
            .iter()
            .flat_map(|w| w.to_le_bytes())
            .map(|b| b as i8)
            .collect()
    };
    let (found, wanted) = (bytes(&found), bytes(expected.words()));
    assert_eq!(found.len(), wanted.len());
    let off = found
        .iter()
        .zip(&wanted)
        .filter(|(a, b)| a != b)
        .inspect(|(a, b)| assert!(a.abs_diff(**b) <= 1, "{a} against {b}"))
        .count();
    assert!(off * 100 <= found.len(), "{off} of {} codes", found.len());
    assert!(relative_error(&to_vec(scales), expected.scales()) < 1e-5);
}

#[rstest]
fn norms_add_the_residual_and_quantise(
    #[values((1, 2560), (3, 100), (17, 48))] shape: (usize, usize),
    #[values(false, true)] with_residual: bool,
) {
    let (tokens, cols) = shape;
    for device in devices() {
        let (x, residual) = (values(1, tokens * cols), values(2, tokens * cols));
        let gamma = values(3, cols);
        let sum: Vec<f32> = match with_residual {
            true => x.iter().zip(&residual).map(|(a, b)| a + b).collect(),
            false => x,
        };
        let expected: Vec<f32> = sum.chunks(cols).flat_map(|row| norm(row, &gamma)).collect();
        let operands = || {
            let residual = with_residual.then(|| matrix(2, tokens, cols, &device));
            (matrix(1, tokens, cols, &device), residual)
        };
        let gamma = || vector(3, cols, &device);
        let (x, residual) = operands();
        let (h, y) = transformer::rms_norm(x, residual, gamma(), EPSILON).unwrap();
        assert_eq!(to_vec(h), sum, "{device:?}");
        assert!(relative_error(&to_vec(y), &expected) < 1e-5);
        let (x, residual) = operands();
        let (h, codes, scales) =
            transformer::rms_norm_quantize(x, residual, gamma(), EPSILON).unwrap();
        assert_eq!(to_vec(h), sum, "{device:?}");
        assert_quantized(codes, scales, &expected, cols);
    }
}

/// Φ by its power series.
fn normal(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for k in 1..200 {
        term *= x * x / f64::from(2 * k + 1);
        sum += term;
    }
    0.5 + sum * (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt()
}

#[rstest]
fn gated_units_are_normed_in_f32(
    #[values((1, 6912), (5, 72))] shape: (usize, usize),
    #[values(
        GatedActivation::SquaredRelu,
        GatedActivation::Silu,
        GatedActivation::Gelu,
        GatedActivation::GeluTanh
    )]
    activation: GatedActivation,
) {
    let (tokens, cols) = shape;
    let apply = |gate: f32| match activation {
        GatedActivation::SquaredRelu => gate.max(0.0) * gate.max(0.0),
        GatedActivation::Silu => gate / (1.0 + (-gate).exp()),
        GatedActivation::Gelu => gate * normal(f64::from(gate)) as f32,
        GatedActivation::GeluTanh => {
            let root = (2.0 / std::f32::consts::PI).sqrt();
            0.5 * gate * (1.0 + (root * (gate + 0.044715 * gate.powi(3))).tanh())
        }
    };
    for device in devices() {
        let gate_up = values(4, tokens * 2 * cols);
        let gamma = values(5, cols);
        let plain: Vec<f32> = gate_up
            .chunks(2 * cols)
            .flat_map(|row| {
                let (gate, up) = row.split_at(cols);
                gate.iter().zip(up).map(|(&g, &u)| apply(g) * u)
            })
            .collect();
        let normed: Vec<f32> = plain.chunks(cols).flat_map(|x| norm(x, &gamma)).collect();
        let gate_up = || matrix(4, tokens, 2 * cols, &device);
        let norm = || Norm {
            gamma: vector(5, cols, &device),
            epsilon: EPSILON,
        };
        for (norm, expected) in [(None, &plain), (Some(norm()), &normed)] {
            let y = transformer::gated(gate_up(), activation, norm).unwrap();
            assert!(relative_error(&to_vec(y), expected) < 1e-5, "{device:?}");
        }
        let (codes, scales) =
            transformer::gated_norm_quantize(gate_up(), activation, norm()).unwrap();
        assert_quantized(codes, scales, &normed, cols);
    }
}

#[test]
fn heads_of_queries_and_keys_are_normed_each_by_itself() {
    let heads = Heads {
        query: 4,
        key_value: 2,
        size: 6,
    };
    for device in devices() {
        let (x, gains) = (values(6, 3 * heads.fused_width()), values(7, 12));
        let expected: Vec<f32> = x
            .chunks(6)
            .enumerate()
            .flat_map(|(index, x)| match index % 8 {
                0..4 => norm(x, &gains[..6]),
                4 | 5 => norm(x, &gains[6..]),
                _ => x.to_vec(),
            })
            .collect();
        let qkv = || matrix(6, 3, heads.fused_width(), &device);
        let gains = || vector(7, 12, &device);
        let y = transformer::norm_heads(qkv(), gains(), heads, EPSILON).unwrap();
        assert!(relative_error(&to_vec(y), &expected) < 1e-6, "{device:?}");
        let short = transformer::norm_heads(qkv(), vector(7, 11, &device), heads, EPSILON);
        assert!(matches!(short, Err(Error::Shape { .. })));
    }
}

/// Pairs of frequency 0 stand still; the factor is that of the others alone.
#[test]
fn scaled_tables_turn_by_their_own_frequencies() {
    for device in devices() {
        let table = to_vec(scaled_rotary_table(&[0.5, 0.0], 2.0, 3, &device));
        let (sin, cos) = 1.0f32.sin_cos();
        assert_eq!(table[8..], [2.0 * cos, 1.0, 2.0 * sin, 0.0]);
        let plain = scaled_rotary_table(&rotary_frequencies(100.0, 8), 1.0, 5, &device);
        assert_eq!(to_vec(plain), to_vec(rotary_table(100.0, 8, 5, &device)));
    }
}

#[test]
fn tables_are_gathered_and_multiplied() {
    let (vocabulary, features) = (1000, 80);
    let table = values(6, vocabulary * features);
    let ids = [999, 0, 17];
    let mut exact = [None, None, None];
    for device in devices() {
        let tensor = || matrix(6, vocabulary, features, &device);
        let rows = transformer::embedding(tensor(), words(&ids, &device), DType::F32).unwrap();
        let expected: Vec<f32> = ids
            .iter()
            .flat_map(|&id| &table[id as usize * features..][..features])
            .copied()
            .collect();
        assert_eq!(to_vec(rows), expected, "{device:?}");

        for (tokens, exact) in [1, 3, 20].into_iter().zip(&mut exact) {
            let x = values(7, tokens * features);
            let expected: Vec<f32> = x
                .chunks(features)
                .flat_map(|x| {
                    table.chunks(features).map(|row| {
                        let dot = |a: f64, (x, w): (&f32, &f32)| a + f64::from(*x) * f64::from(*w);
                        x.iter().zip(row).fold(0.0, dot) as f32
                    })
                })
                .collect();
            let x = || matrix(7, tokens, features, &device);
            let logits = transformer::dense_head(x(), tensor()).unwrap();
            assert!(
                relative_error(&to_vec(logits), &expected) < 1e-5,
                "{device:?}"
            );

            let (codes, scales) = ops::quantize_activations(tensor()).unwrap();
            let logits = to_vec(transformer::int8_head(x(), codes, scales).unwrap());
            let error = relative_error(&logits, &expected);
            assert!(error < 0.02, "{device:?}: {error}");
            // Sums of integers: the same bits on every device.
            let bits: Vec<u32> = logits.iter().map(|logit| logit.to_bits()).collect();
            let first = exact.get_or_insert_with(|| bits.clone());
            assert!(*first == bits, "{device:?}, {tokens} tokens");
        }
    }
}

#[test]
fn the_largest_logit_is_found_and_nan_told_apart() {
    for device in devices() {
        let columns = 1300;
        let mut logits = vec![-3.0f32; 4 * columns];
        logits[1299] = 2.0;
        logits[columns + 5] = 1.0;
        logits[columns + 700] = 1.0;
        logits[2 * columns + 9] = f32::NAN;
        let logits = Tensor::from_data(TensorData::new(logits, [4, columns]), &device);
        let ids = word_vec(transformer::argmax(logits).unwrap());
        assert_eq!(ids, [1299, 5, 1300, 0], "{device:?}");
    }
}

#[test]
fn a_step_moves_tokens_and_positions_on() {
    for device in devices() {
        let (tokens, positions) = (words(&[1, 2], &device), words(&[7, 0], &device));
        let ids = words(&[5, 6], &device);
        let (tokens, positions) = transformer::advance(tokens, positions, ids).unwrap();
        assert_eq!(word_vec(positions), [8, 1], "{device:?}");
        let tokens = transformer::overwrite(tokens.clone(), words(&[3, 4], &device)).unwrap();
        assert_eq!(word_vec(tokens), [3, 4], "{device:?}");
    }
}

#[test]
fn operands_of_other_shapes_are_refused() {
    for device in devices() {
        let gamma = || vector(8, 10, &device);
        let wide = transformer::rms_norm(matrix(1, 2, 11, &device), None, gamma(), EPSILON);
        assert!(matches!(wide, Err(Error::Shape { .. })));
        let residual = Some(matrix(1, 3, 10, &device));
        let long = transformer::rms_norm(matrix(1, 2, 10, &device), residual, gamma(), EPSILON);
        assert!(matches!(long, Err(Error::Shape { .. })));
        let odd = transformer::gated(matrix(1, 2, 21, &device), GatedActivation::Silu, None);
        assert!(matches!(odd, Err(Error::Shape { .. })));
        let (codes, _) = ops::quantize_activations(matrix(1, 2, 10, &device)).unwrap();
        let ids = transformer::overwrite(codes, words(&[1], &device));
        assert!(matches!(ids, Err(Error::Shape { .. })));
        let head = transformer::dense_head(matrix(1, 2, 10, &device), matrix(1, 5, 9, &device));
        assert!(matches!(head, Err(Error::Shape { .. })));
    }
}
