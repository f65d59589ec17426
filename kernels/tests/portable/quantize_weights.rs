//! Scales and codes of weights, bit for bit those of tritburn-formats.

use rstest::rstest;
use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode, quantize};
use tritburn_kernels::quantize::weight::{self, SumBlueprint};
use tritburn_kernels::{FloatType, PackedWeights};

use crate::device::{client, supported};
use crate::harness::*;

fn quantized(
    w: &[f32],
    layout: &PackedLayout,
    stride: usize,
    dtype: FloatType,
    plan: Option<SumBlueprint>,
) -> (Vec<u32>, Vec<f32>) {
    let client = client();
    let shape = [layout.out_features(), layout.in_features()];
    let input = float_matrix(&client, w, shape, stride, dtype);
    let (words, words_handle) = empty(&client, layout.word_count());
    let (scales, scales_handle) = empty(&client, layout.scale_count());
    let out = PackedWeights::new(layout.clone(), words, scales).unwrap();
    weight::launch_with(&client, &input, &out, plan).unwrap();
    (
        read_u32(&client, &words_handle),
        read_f32(&client, &scales_handle),
    )
}

fn assert_equals_codec(w: &[f32], layout: &PackedLayout, stride: usize, dtype: FloatType) {
    let expected = quantize::quantize_weights(w, layout).unwrap();
    let (words, scales) = quantized(w, layout, stride, dtype, None);
    let what = format!("{layout:?}, stride {stride}, {dtype}");
    assert_bits(&scales, expected.scales(), &what);
    assert_eq!(words, expected.words(), "{what}");
}

#[rstest]
#[case::ternary(WeightCode::Ternary)]
#[case::int2(WeightCode::Int2)]
fn scales_and_codes_equal_the_codec_for_every_shape_and_granularity(#[case] code: WeightCode) {
    for (i, (n, k)) in WEIGHT_SHAPES.into_iter().enumerate() {
        let w = floats(&mut rng(i), n * k, FloatType::F32);
        for scale in granularities(n) {
            for stride in [k, k + 5] {
                assert_equals_codec(
                    &w,
                    &layout(n, k, code, scale.clone()),
                    stride,
                    FloatType::F32,
                );
            }
        }
    }
}

#[test]
fn half_precision_weights_are_summed_and_rounded_in_f32() {
    for dtype in supported([FloatType::F16, FloatType::BF16]) {
        for code in CODES {
            let w = floats(&mut rng(9), 33 * 100, dtype);
            for scale in [ScaleGranularity::Tensor, ScaleGranularity::Row] {
                assert_equals_codec(&w, &layout(33, 100, code, scale), 104, dtype);
            }
        }
    }
}

#[test]
fn a_matrix_of_three_summation_levels_has_the_codecs_scale() {
    let (n, k) = (1030, 1025);
    let w = floats(&mut rng(3), n * k, FloatType::F32);
    assert_equals_codec(
        &w,
        &layout(n, k, WeightCode::Ternary, ScaleGranularity::Tensor),
        k,
        FloatType::F32,
    );
}

#[test]
fn rows_and_groups_longer_than_a_block_have_the_codecs_scales() {
    let (n, k) = (3, 5000);
    let w = floats(&mut rng(4), n * k, FloatType::F32);
    for scale in [
        ScaleGranularity::Row,
        ScaleGranularity::Group { size: 2048 },
        ScaleGranularity::Segments { rows: vec![2, 1] },
    ] {
        let layout = layout(n, k, WeightCode::Int2, scale);
        assert_equals_codec(&w, &layout, k + 8, FloatType::F32);
    }
}

#[test]
fn units_that_share_a_block_change_no_bit() {
    let (n, k) = (7, 1500);
    let w = floats(&mut rng(5), n * k, FloatType::F32);
    let plan = SumBlueprint {
        units_per_block: 2,
        cube_units: 2,
    };
    for scale in [ScaleGranularity::Tensor, ScaleGranularity::Row] {
        let layout = layout(n, k, WeightCode::Ternary, scale);
        let expected = quantize::quantize_weights(&w, &layout).unwrap();
        let (words, scales) = quantized(&w, &layout, k, FloatType::F32, Some(plan));
        assert_bits(&scales, expected.scales(), "two units a block");
        assert_eq!(words, expected.words());
    }
}

#[test]
fn ternary_ties_round_to_even() {
    // The mean is 1, so ±0.5 are ties (to 0) and ±1.5 lie past the clamp.
    let w = [
        0.5,
        -0.5,
        1.5,
        -1.5,
        0.500_000_06,
        -0.500_000_06,
        1.5,
        1.499_999_9,
    ];
    let layout = layout(1, 8, WeightCode::Ternary, ScaleGranularity::Tensor);
    let (words, scales) = quantized(&w, &layout, 8, FloatType::F32, None);
    assert_eq!(scales, [1.0]);
    let codes: Vec<u32> = (0..8).map(|i| words[0] >> (2 * i) & 3).collect();
    assert_eq!(codes, [1, 1, 2, 0, 2, 0, 2, 2]);
}

#[test]
fn int2_codes_around_every_threshold_equal_the_codec() {
    // Weights a few ulps around -s, 0 and s, where w/s + 1.5 is 0.5, 1.5 and 2.5.
    let layout = layout(1, 64, WeightCode::Int2, ScaleGranularity::Tensor);
    let mut w = floats(&mut rng(6), 64, FloatType::F32);
    // The scale depends on the weights that depend on it; the loop ends where both agree.
    for _ in 0..60 {
        let s = quantize::weight_scales(&w, &layout).unwrap()[0];
        for i in 0..7 {
            let near = f32::from_bits(s.to_bits() - 3 + i as u32);
            (w[i], w[i + 8]) = (near, -near);
        }
        (w[16], w[17], w[18]) = (0.0, f32::MIN_POSITIVE, -f32::MIN_POSITIVE);
    }
    let s = quantize::weight_scales(&w, &layout).unwrap()[0];
    for tie in [0.5, 1.5, 2.5] {
        assert!(w.iter().any(|w| w / s + 1.5 == tie), "no weight at {tie}");
    }
    assert_equals_codec(&w, &layout, 64, FloatType::F32);
}

#[test]
fn nan_and_infinity_spoil_their_own_segment_only() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for code in CODES {
            for scale in granularities(5) {
                let mut w = floats(&mut rng(7), 5 * 100, FloatType::F32);
                w[2 * 100 + 33] = bad;
                let layout = layout(5, 100, code, scale);
                let (_, scales) = quantized(&w, &layout, 100, FloatType::F32, None);
                let spoilt = layout.scale().index(2, 33, 100);
                for (i, s) in scales.iter().enumerate() {
                    assert_eq!(s.is_nan(), i == spoilt, "scale {i} of {layout:?} is {s}");
                }
                assert_equals_codec(&w, &layout, 100, FloatType::F32);
            }
        }
    }
}

#[test]
fn zero_and_overflowing_weights_have_the_codecs_scales() {
    for value in [0.0, 1e-7, 3e38] {
        for code in CODES {
            let layout = layout(3, 40, code, ScaleGranularity::Row);
            assert_equals_codec(&[value; 120], &layout, 40, FloatType::F32);
        }
    }
}

#[test]
fn the_same_weights_give_the_same_bits_twice() {
    let w = floats(&mut rng(8), 130 * 640, FloatType::F32);
    let layout = layout(130, 640, WeightCode::Int2, ScaleGranularity::Tensor);
    let [a, b] = [(); 2].map(|()| quantized(&w, &layout, 640, FloatType::F32, None));
    assert_eq!(a, b);
}
