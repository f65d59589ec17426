//! Int8 activations and their scales, bit for bit those of tritburn-formats.

use rstest::rstest;
use tritburn_formats::quantize::QuantizedActivations as Reference;
use tritburn_kernels::quantize::activation::{self, ActivationBlueprint};
use tritburn_kernels::{FloatType, QuantizedActivations};

use crate::device::{client, supported};
use crate::harness::*;

fn quantized(
    x: &[f32],
    k: usize,
    stride: usize,
    dtype: FloatType,
    plan: Option<ActivationBlueprint>,
) -> (Vec<u32>, Vec<f32>) {
    let client = client();
    let m = x.len() / k;
    let input = float_matrix(&client, x, [m, k], stride, dtype);
    let (codes, codes_handle) = empty(&client, m * QuantizedActivations::words_per_row(k));
    let (scales, scales_handle) = empty(&client, m);
    let out = QuantizedActivations::new(m, k, codes, scales).unwrap();
    activation::launch_with(&client, &input, &out, plan).unwrap();
    (
        read_u32(&client, &codes_handle),
        read_f32(&client, &scales_handle),
    )
}

fn assert_equals_codec(x: &[f32], k: usize, stride: usize, dtype: FloatType) {
    let expected = Reference::quantize(x, k).unwrap();
    let (codes, scales) = quantized(x, k, stride, dtype, None);
    let what = format!("{} rows of {k}, stride {stride}, {dtype}", x.len() / k);
    assert_bits(&scales, expected.scales(), &what);
    assert_eq!(codes, expected.words(), "{what}");
}

#[test]
fn codes_and_scales_equal_the_codec_for_every_shape_and_type() {
    for (i, k) in [1, 15, 16, 17, 63, 100, 257, 640].into_iter().enumerate() {
        for m in TOKENS.into_iter().filter(|&m| m > 0) {
            for dtype in supported(FLOATS) {
                let x = floats(&mut rng(i + m), m * k, dtype);
                assert_equals_codec(&x, k, k + 3, dtype);
                assert_equals_codec(&x, k, k, dtype);
            }
        }
    }
}

#[test]
fn many_rows_equal_the_codec() {
    for (k, m) in [(2048, 512), (1040, 515), (16, 513), (4096, 514)] {
        for dtype in supported(FLOATS) {
            let x = floats(&mut rng(k), m * k, dtype);
            assert_equals_codec(&x, k, k, dtype);
        }
    }
}

#[test]
fn no_rows_are_no_work() {
    let client = client();
    let x = float_matrix(&client, &[], [0, 17], 17, FloatType::F32);
    let (codes, _) = empty(&client, 0);
    let (scales, _) = empty(&client, 0);
    let out = QuantizedActivations::new(0, 17, codes, scales).unwrap();
    activation::launch(&client, &x, &out).unwrap();
}

// Rows of whole words of 16 codes go to the quantiser of lines, where the device has planes for it.
#[rstest]
fn ties_round_to_even(#[values(10, 16, 640)] k: usize) {
    // The largest input is 127, so a = 1 and halves are ties.
    let mut x = vec![
        127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5, -126.5, -127.0,
    ];
    x.resize(k, 0.0);
    let (codes, scales) = quantized(&x, k, k, FloatType::F32, None);
    assert_eq!(scales, [1.0]);
    let q: Vec<i8> = codes
        .iter()
        .flat_map(|w| w.to_le_bytes())
        .map(|b| b as i8)
        .collect();
    assert_eq!(q[..10], [127, 0, 2, 2, 0, -2, -2, 126, -126, -127]);
    assert!(q[10..].iter().all(|&code| code == 0));
}

#[rstest]
fn a_row_with_nan_or_infinity_is_zeros_with_a_nan_scale_and_spoils_no_other(
    #[values(37, 48, 640)] k: usize,
) {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for dtype in supported(FLOATS) {
            let mut x = floats(&mut rng(1), 3 * k, dtype);
            x[k + 36] = bad;
            let (codes, scales) = quantized(&x, k, k, dtype, None);
            let words = QuantizedActivations::words_per_row(k);
            assert!(scales[1].is_nan() && scales[0].is_finite() && scales[2].is_finite());
            assert!(codes[words..2 * words].iter().all(|&w| w == 0));
            assert_equals_codec(&x, k, k, dtype);
        }
    }
}

#[rstest]
fn tiny_zero_and_huge_rows_equal_the_codec(#[values(20, 32)] k: usize) {
    for value in [0.0, 1e-30, 9e-6, 1e-5, 1.1e-5, 3e38] {
        let mut x = vec![value; 3 * k];
        x[k + 5] = -value;
        assert_equals_codec(&x, k, k, FloatType::F32);
    }
}

#[test]
fn lanes_that_share_a_row_change_no_bit() {
    let plan = ActivationBlueprint {
        lanes: 2,
        cube_units: 2,
    };
    for k in [1, 5, 100] {
        let mut x = floats(&mut rng(2), 3 * k, FloatType::F32);
        x[2 * k] = f32::NAN;
        let expected = Reference::quantize(&x, k).unwrap();
        let (codes, scales) = quantized(&x, k, k, FloatType::F32, Some(plan));
        assert_bits(&scales, expected.scales(), "two lanes a row");
        assert_eq!(codes, expected.words());
    }
}

#[test]
fn the_same_activations_give_the_same_bits_twice() {
    let x = floats(&mut rng(3), 17 * 640, FloatType::F32);
    let [a, b] = [(); 2].map(|()| quantized(&x, 640, 640, FloatType::F32, None));
    assert_eq!(a, b);
}
