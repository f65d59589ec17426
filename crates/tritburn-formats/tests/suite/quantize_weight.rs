//! The weight quantisers, against their formulas written out.

use std::f32::consts::PI;

use tritburn_formats::quantize::weight::{int2_code, ternary_code, weight_scale_from_mean};
use tritburn_formats::quantize::{pack_weights, quantize_weights, weight_scales};
use tritburn_formats::sum::abs_mean;
use tritburn_formats::{MatrixError, PackedLayout, ScaleGranularity, WeightCode};

use crate::common::{CODES, SHAPES, granularities, layout, noise};

fn expected_code(w: f32, scale: f32, code: WeightCode) -> u32 {
    let q = match code {
        WeightCode::Ternary => (w / scale).round_ties_even().clamp(-1.0, 1.0) + 1.0,
        _ => (w / scale + 1.5).round_ties_even().clamp(0.0, 3.0),
    };
    q as u32
}

/// The weights of each scale, in row-major order.
fn segments(w: &[f32], layout: &PackedLayout) -> Vec<Vec<f32>> {
    let k = layout.in_features();
    let mut segments = vec![Vec::new(); layout.scale_count()];
    for (i, &v) in w.iter().enumerate() {
        segments[layout.scale().index(i / k, i % k, k)].push(v);
    }
    segments
}

#[test]
fn every_shape_code_and_granularity_follows_the_formula() {
    for (seed, (out, k)) in SHAPES.into_iter().enumerate() {
        for code in CODES {
            for scale in granularities(out) {
                let layout = layout(out, k, code, scale);
                let w = noise(out * k, seed as u64);
                let matrix = quantize_weights(&w, &layout).unwrap();
                assert_eq!(matrix.scales().len(), layout.scale_count(), "{layout:?}");
                for (segment, scale) in segments(&w, &layout).iter().zip(matrix.scales()) {
                    let expected = weight_scale_from_mean(abs_mean(segment), code);
                    assert_eq!(scale.to_bits(), expected.to_bits(), "{layout:?}");
                }
                assert_eq!(weight_scales(&w, &layout).unwrap(), matrix.scales());
                for (i, &v) in w.iter().enumerate() {
                    let (row, col) = (i / k, i % k);
                    let scale = matrix.scales()[layout.scale().index(row, col, k)];
                    let expected = expected_code(v, scale, code);
                    let found = matrix.code(row, col);
                    assert_eq!(found, Some(expected), "{layout:?} [{row}, {col}]");
                }
                let padding = layout.words_per_row() * 16 - k;
                for row in matrix.words().chunks(layout.words_per_row()) {
                    let last = row[row.len() - 1];
                    for field in 16 - padding..16 {
                        assert_eq!(last >> (2 * field) & 3, WeightCode::PADDING, "{layout:?}");
                    }
                }
                assert_eq!(pack_weights(&w, &layout), Ok(matrix));
            }
        }
    }
}

#[test]
fn scales_have_a_floor_and_a_step() {
    use WeightCode::{Int2, Ternary};
    assert_eq!(weight_scale_from_mean(0.25, Ternary), 0.25);
    assert_eq!(weight_scale_from_mean(0.0, Ternary), 1e-5);
    assert_eq!(weight_scale_from_mean(9e-6, Ternary), 1e-5);
    assert_eq!(weight_scale_from_mean(0.25, Int2), 0.25 * 1.2479);
    assert_eq!(weight_scale_from_mean(0.0, Int2), 1e-5 * 1.2479);
    for code in CODES {
        for mean in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(
                weight_scale_from_mean(mean, code).is_nan(),
                "{code:?} {mean}"
            );
        }
    }
    assert_eq!(weight_scale_from_mean(f32::MAX, Ternary), f32::MAX);
    assert!(weight_scale_from_mean(f32::MAX, Int2).is_nan());
}

#[test]
fn the_int2_step_is_the_least_squares_one_for_a_gaussian() {
    // Mean squared error of the four-level quantiser on normal samples (Box-Muller on a
    // fixed sequence): the documented step beats its neighbours.
    let u = noise(400_000, 5);
    let w: Vec<f32> = u
        .chunks(2)
        .map(|p| (-2.0 * ((p[0] + 1.0) / 2.0).max(1e-7).ln()).sqrt() * (p[1] * PI).cos())
        .collect();
    let mean = abs_mean(&w);
    let error = |s: f32| -> f64 {
        w.iter()
            .map(|&v| (v - (int2_code(v, s) as f32 - 1.5) * s) as f64)
            .map(|d| d * d)
            .sum()
    };
    let best = error(weight_scale_from_mean(mean, WeightCode::Int2));
    assert!(best < error(mean * 1.2) && best < error(mean * 1.3));
}

#[test]
fn ties_round_to_even() {
    let ternary = [-0.75, -0.5, -0.0, 0.5, 0.75, 3.0].map(|w| ternary_code(w, 1.0));
    assert_eq!(ternary, [0, 1, 1, 1, 2, 2]);
    let int2 = [-9.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 9.0].map(|w| int2_code(w, 1.0));
    assert_eq!(int2, [0, 0, 1, 2, 2, 2, 3, 3]);
}

#[test]
fn nan_and_infinity_poison_their_scale_and_nothing_else() {
    for code in CODES {
        assert_eq!(ternary_code(f32::NAN, 1.0), WeightCode::PADDING);
        assert_eq!(int2_code(f32::NAN, 1.0), WeightCode::PADDING);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let layout = layout(3, 40, code, ScaleGranularity::Group { size: 16 });
            let mut w = noise(120, 6);
            let clean = quantize_weights(&w, &layout).unwrap().dequantize();
            w[40 + 20] = bad;
            let matrix = quantize_weights(&w, &layout).unwrap();
            for (i, (got, clean)) in matrix.dequantize().iter().zip(&clean).enumerate() {
                if (56..72).contains(&i) {
                    assert!(got.is_nan(), "{code:?} {bad} at {i}");
                    assert_eq!(matrix.code(i / 40, i % 40), Some(WeightCode::PADDING));
                } else {
                    assert_eq!(got, clean, "{code:?} {bad} at {i}");
                }
            }
        }
    }
}

#[test]
fn packing_names_the_first_bad_weight() {
    for scale in granularities(5) {
        let layout = layout(5, 33, WeightCode::Ternary, scale);
        let mut w = noise(165, 7);
        w[4 * 33 + 1] = f32::NAN;
        w[2 * 33 + 30] = f32::NEG_INFINITY;
        let error = pack_weights(&w, &layout).expect_err("an infinite weight");
        let expected = MatrixError::NonFinite {
            row: 2,
            col: 30,
            value: f32::NEG_INFINITY,
        };
        assert_eq!(error, expected);
    }
}

#[test]
fn packing_refuses_a_wrong_length_and_an_overflowing_mean() {
    let layout = layout(2, 20, WeightCode::Ternary, ScaleGranularity::Row);
    for found in [0, 39, 41] {
        let expected = MatrixError::Length {
            what: "weights",
            found,
            expected: 40,
        };
        assert_eq!(pack_weights(&noise(found, 8), &layout), Err(expected));
    }
    let mut w = noise(40, 9);
    w[20..].fill(f32::MAX);
    let expected = MatrixError::ScaleOverflow { index: 1 };
    assert_eq!(pack_weights(&w, &layout), Err(expected));
}

#[test]
fn a_wrong_number_of_weights_is_refused() {
    let layout = layout(2, 20, WeightCode::Ternary, ScaleGranularity::Row);
    let expected = MatrixError::Length {
        what: "weights",
        found: 39,
        expected: 40,
    };
    let (scales, matrix) = (
        weight_scales(&[0.0; 39], &layout),
        quantize_weights(&[0.0; 39], &layout),
    );
    assert_eq!(scales, Err(expected.clone()));
    assert_eq!(matrix, Err(expected));
}

#[test]
fn a_zero_matrix_stays_zero() {
    let layout = layout(4, 30, WeightCode::Ternary, ScaleGranularity::Tensor);
    let matrix = quantize_weights(&[0.0; 120], &layout).unwrap();
    assert_eq!(matrix.words(), [0x5555_5555; 8]);
    assert_eq!(matrix.dequantize(), [0.0; 120]);
}
