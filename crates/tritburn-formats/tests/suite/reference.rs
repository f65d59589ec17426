//! The reference matmuls, against float products of dequantised operands and by hand.

use tritburn_formats::matrix::pack_codes;
use tritburn_formats::quantize::quantize_weights;
use tritburn_formats::reference::{
    matmul_group_i32, matmul_i32, matmul_w2a8, matmul_w2a16, rescale,
};
use tritburn_formats::{
    PackedLayout, PackedMatrix, QuantizedActivations, ScaleGranularity, WeightCode,
};

use crate::common::{CODES, SHAPES, granularities, layout, noise};

/// A 2x18 matrix and one token, small enough to multiply by hand.
fn by_hand(code: WeightCode, scale: ScaleGranularity, scales: Vec<f32>) -> (PackedMatrix, Vec<i8>) {
    let layout = layout(2, 18, code, scale);
    let mut codes = [1; 36];
    (codes[0], codes[1], codes[17]) = (2, 0, 2);
    codes[18 + 16] = 0;
    let matrix = PackedMatrix::new(layout.clone(), pack_codes(&codes, &layout).unwrap(), scales);
    let mut x = vec![0; 32];
    (x[0], x[1], x[16], x[17]) = (100, -28, 5, 127);
    x[18..].fill(77); // behind K: must not count
    (matrix.expect("valid"), x)
}

#[test]
fn products_by_hand() {
    let (ternary, x) = by_hand(WeightCode::Ternary, ScaleGranularity::Tensor, vec![0.5]);
    assert_eq!(matmul_i32(&x, &ternary), [100 + 28 + 127, -5]);
    assert_eq!(matmul_w2a8(&x, &[0.25], &ternary, None), [31.875, -0.625]);
    let biased = rescale(&[255, -5], &[0.25], &ternary, Some(&[1.0, 2.0]));
    assert_eq!(biased, [32.875, 1.375]);

    let group = ScaleGranularity::Group { size: 16 };
    let (int2, x) = by_hand(WeightCode::Int2, group, vec![0.5, 1.0, 2.0, 4.0]);
    // Values: code 0 is -3, 1 is -1, 2 is 1.
    let acc = [100 + 84, -5 + 127, -100 + 28, -15 - 127];
    assert_eq!(matmul_group_i32(&x, &int2), acc);
    assert_eq!(matmul_i32(&x, &int2), [acc[0] + acc[1], acc[2] + acc[3]]);
    // Step = scale / 2.
    let y = [
        2.0 * (184.0 * 0.25 + 122.0 * 0.5),
        2.0 * (-72.0 * 1.0 - 142.0 * 2.0),
    ];
    assert_eq!(matmul_w2a8(&x, &[2.0], &int2, None), y);
    assert_eq!(rescale(&acc, &[2.0], &int2, None), y);
}

#[test]
fn integer_and_float_oracles_agree_on_every_shape() {
    for (out, k) in SHAPES {
        for code in CODES {
            for scale in granularities(out) {
                agree(&layout(out, k, code, scale), 3);
            }
        }
    }
}

fn agree(layout: &PackedLayout, m: usize) {
    let (n, k) = (layout.out_features(), layout.in_features());
    let matrix = quantize_weights(&noise(n * k, 1), layout).unwrap();
    let x = QuantizedActivations::quantize(&noise(m * k, 2), k).expect("whole rows");
    let bias = noise(n, 3);
    let y = matmul_w2a8(x.bytes(), x.scales(), &matrix, Some(&bias));
    let acc = matmul_group_i32(x.bytes(), &matrix);
    let rescaled = rescale(&acc, x.scales(), &matrix, Some(&bias));
    let float = matmul_w2a16(&x.dequantize(), &matrix, Some(&bias));
    assert_eq!([y.len(), rescaled.len(), float.len()], [m * n; 3]);

    let (xs, weights) = (x.dequantize(), matrix.dequantize());
    for i in 0..m * n {
        let (row, col) = (i / n, i % n);
        let terms = (0..k).map(|j| xs[row * k + j] as f64 * weights[col * k + j] as f64);
        let size: f64 = terms.clone().map(f64::abs).sum::<f64>() + 1.0;
        let expected = terms.sum::<f64>() + bias[col] as f64;
        for got in [y[i], rescaled[i], float[i]] {
            let error = (got as f64 - expected).abs();
            assert!(
                error < 1e-6 * size,
                "{layout:?} [{row}, {col}]: {got} {expected}"
            );
        }
    }
}

#[test]
fn the_largest_sums_of_both_codes_fit_an_i32() {
    for (code, field, extreme) in [(WeightCode::Ternary, 2, 1i64), (WeightCode::Int2, 3, 3)] {
        let k = code.max_in_features();
        let layout = layout(1, k, code, ScaleGranularity::Tensor);
        let matrix = PackedMatrix::new(
            layout.clone(),
            pack_codes(&vec![field; k], &layout).unwrap(),
            vec![1.0],
        )
        .expect("valid");
        let x = vec![-128; k.div_ceil(16) * 16];
        let acc = matmul_i32(&x, &matrix);
        assert_eq!(acc[0] as i64, -128 * extreme * k as i64);
        // Biased codes, as kernels multiply them, fit as well.
        assert!(128 * field as i64 * k as i64 <= i32::MAX as i64);
        assert!(PackedLayout::new(1, k + 1, code, ScaleGranularity::Tensor).is_err());
    }
}

#[test]
fn no_tokens_give_no_outputs() {
    let matrix = quantize_weights(
        &noise(60, 1),
        &layout(3, 20, WeightCode::Ternary, ScaleGranularity::Row),
    )
    .unwrap();
    assert_eq!(matmul_i32(&[], &matrix), [0i32; 0]);
    assert_eq!(matmul_w2a8(&[], &[], &matrix, None), [0.0f32; 0]);
    assert_eq!(matmul_w2a16(&[], &matrix, None), [0.0f32; 0]);
}

#[test]
fn nan_scales_and_missing_scales_give_nan() {
    let mut w = noise(60, 1);
    w[25] = f32::INFINITY;
    let matrix = quantize_weights(
        &w,
        &layout(3, 20, WeightCode::Ternary, ScaleGranularity::Row),
    )
    .unwrap();
    let mut xs = noise(60, 2);
    xs[45] = f32::NAN;
    let x = QuantizedActivations::quantize(&xs, 20).expect("whole rows");
    // Row 1 of the weights and token 2 are bad; token 1 has no scale here.
    let scales = [x.scales()[0], f32::NAN, x.scales()[2]];
    let nan = [false, true, false, true, true, true, true, true, true];
    let acc = matmul_i32(x.bytes(), &matrix);
    for scales in [scales.as_slice(), &scales[..1]] {
        let y = matmul_w2a8(x.bytes(), scales, &matrix, None);
        assert_eq!(y.iter().map(|v| v.is_nan()).collect::<Vec<_>>(), nan);
        let y = rescale(&acc, scales, &matrix, None);
        assert_eq!(y.iter().map(|v| v.is_nan()).collect::<Vec<_>>(), nan);
    }
    let y = matmul_w2a16(&noise(20, 3), &matrix, Some(&[0.0, 0.0]));
    assert_eq!(
        [y[0].is_nan(), y[1].is_nan(), y[2].is_nan()],
        [false, true, true]
    );
}
