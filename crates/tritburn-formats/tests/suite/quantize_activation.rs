//! The activation quantiser, against its formula written out.

use tritburn_formats::layout::activation_words_per_row;
use tritburn_formats::quantize::activation::{activation_bytes, quantize_row, quantize_rows};
use tritburn_formats::{MatrixError, QuantizedActivations};

use crate::common::noise;

fn formula(x: &[f32]) -> (Vec<i8>, f32) {
    let max = x.iter().fold(0.0f32, |max, v| max.max(v.abs()));
    let a = 127.0 / max.max(1e-5);
    let q = x
        .iter()
        .map(|v| (v * a).round_ties_even().clamp(-128.0, 127.0) as i8);
    (q.collect(), 1.0 / a)
}

#[test]
fn rows_of_any_length_and_magnitude_follow_the_formula() {
    for len in [1, 2, 15, 16, 17, 63, 64, 100, 1000, 4096, 6913] {
        for magnitude in [1e-38, 1e-9, 1e-5, 0.03, 1.0, 777.0, 3e38] {
            let x: Vec<f32> = noise(len, len as u64)
                .iter()
                .map(|v| v * magnitude)
                .collect();
            let mut out = vec![99; len + 5];
            let scale = quantize_row(&x, &mut out);
            let (expected, expected_scale) = formula(&x);
            assert_eq!(
                scale.to_bits(),
                expected_scale.to_bits(),
                "{len} x {magnitude:e}"
            );
            assert_eq!(out[..len], expected, "{len} x {magnitude:e}");
            assert_eq!(out[len..], [0; 5]);
        }
    }
}

#[test]
fn ties_round_to_even_and_the_largest_value_is_127() {
    let mut out = [0; 8];
    let scale = quantize_row(&[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, -127.0], &mut out);
    assert_eq!((out, scale), ([127, 0, 2, 2, 0, -2, -2, -127], 1.0));
}

#[test]
fn no_value_leaves_the_range_of_the_largest() {
    // The clamp of the contract never binds: the row's maximum is always ±127.
    let mut out = [0; 2];
    for bits in (1e-5f32.to_bits()..0x7f80_0000).step_by(40_009) {
        let max = f32::from_bits(bits);
        quantize_row(&[max, -max], &mut out);
        assert_eq!(out, [127, -127], "{max:e}");
    }
}

#[test]
fn a_row_with_nan_or_infinity_is_zeros_with_a_nan_scale() {
    for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for at in [0, 50, 99] {
            let mut x = noise(100, 1);
            x[at] = bad;
            let mut out = [7; 112];
            assert!(quantize_row(&x, &mut out).is_nan(), "{bad} at {at}");
            assert_eq!(out, [0; 112]);
        }
    }
}

#[test]
fn zero_rows_and_empty_rows_have_the_smallest_scale() {
    let smallest = 1.0 / (127.0f32 / 1e-5);
    let mut out = [7; 4];
    assert_eq!(quantize_row(&[0.0, -0.0], &mut out), smallest);
    assert_eq!(out, [0; 4]);
    assert_eq!(quantize_row(&[], &mut out), smallest);
    let mut scales = [0.0; 3];
    quantize_rows(&[], 0, &mut [], &mut scales).expect("three rows of nothing");
    assert_eq!(scales, [smallest; 3]);
}

#[test]
fn stored_rows_are_padded_words_in_little_endian_order() {
    for (rows, k) in [(0, 5), (1, 1), (3, 16), (4, 17), (70, 1000)] {
        let mut x = noise(rows * k, 2);
        if rows > 2 {
            x[2 * k] = f32::NAN;
        }
        let stored = QuantizedActivations::quantize(&x, k).expect("whole rows");
        let back = stored.dequantize();
        let words = activation_words_per_row(k);
        assert_eq!(words, 4 * k.div_ceil(16));
        assert_eq!((stored.rows(), stored.in_features()), (rows, k));
        assert_eq!(stored.words().len(), rows * words);
        assert_eq!(stored.bytes(), activation_bytes(stored.words()));
        for m in 0..rows {
            let mut q = vec![0; 4 * words];
            let scale = quantize_row(&x[m * k..(m + 1) * k], &mut q);
            assert_eq!(stored.scales()[m].to_bits(), scale.to_bits());
            for (i, &q) in q.iter().enumerate() {
                let word = stored.words()[m * words + i / 4];
                assert_eq!((word >> (8 * (i % 4))) as u8 as i8, q, "[{m}, {i}]");
            }
            for i in 0..k {
                let back = back[m * k + i];
                assert_eq!(
                    back.to_bits(),
                    (q[i] as f32 * scale).to_bits(),
                    "[{m}, {i}]"
                );
            }
        }
        let (words, scales) = stored.clone().into_parts();
        assert_eq!(words, stored.words());
        assert_eq!(scales.len(), rows);
    }
}

#[test]
fn lengths_that_fit_no_row_count_are_refused() {
    let error = QuantizedActivations::quantize(&[0.0; 7], 3);
    let length = |what, found, expected| {
        Err(MatrixError::Length {
            what,
            found,
            expected,
        })
    };
    assert_eq!(error, length("activations", 7, 6).map(|()| unreachable!()));
    assert!(QuantizedActivations::quantize(&[0.0; 7], 0).is_err());
    assert!(QuantizedActivations::quantize(&[0.0; 7], usize::MAX).is_err());
    let (mut words, mut scales) = ([0; 8], [0.0; 2]);
    assert_eq!(
        quantize_rows(&[0.0; 5], 3, &mut words, &mut scales),
        length("activations", 5, 6)
    );
    assert_eq!(
        quantize_rows(&[0.0; 6], 3, &mut words[..7], &mut scales),
        length("activation words", 7, 8)
    );
    assert!(quantize_rows(&[0.0; 6], usize::MAX, &mut words, &mut scales).is_err());
}
