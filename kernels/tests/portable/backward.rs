//! Gradients against sums in f64.

use tritburn_formats::quantize::QuantizedActivations as Reference;
use tritburn_formats::{ScaleGranularity, WeightCode, quantize};
use tritburn_kernels::{FloatType, backward};

use crate::device::{client, supported};
use crate::harness::*;

/// `a · b` with `a` `[rows, inner]`, `b` `[inner, cols]` in f64, and a bound for f32 sums rounded
/// to `dtype`.
fn product(
    rows: usize,
    inner: usize,
    cols: usize,
    dtype: FloatType,
    term: impl Fn(usize, usize, usize) -> f64,
) -> (Vec<f64>, Vec<f64>) {
    let outputs = (0..rows * cols).map(|at| {
        let terms = (0..inner).map(|i| term(at / cols, i, at % cols));
        let (sum, size) = terms.fold((0.0, 0.0), |(s, a), t| (s + t, a + t.abs()));
        let f32_steps = (inner + 4) as f64 * epsilon(FloatType::F32);
        (sum, size * f32_steps + sum.abs() * epsilon(dtype) + 1e-7)
    });
    outputs.unzip()
}

fn assert_input_gradient(
    m: usize,
    matrix: &tritburn_formats::matrix::PackedMatrix,
    dtype: FloatType,
) {
    let client = client();
    let (n, k) = (
        matrix.layout().out_features(),
        matrix.layout().in_features(),
    );
    let dy = floats(&mut rng(m + n), m * n, dtype);
    let dx = Out::new(&client, [m, k], k + 2, dtype);
    let input = float_matrix(&client, &dy, [m, n], n + 3, dtype);
    backward::input(&client, &input, &weights(&client, matrix), &dx.matrix).unwrap();
    let w = matrix.dequantize();
    let (expected, bounds) = product(m, n, k, dtype, |m, row, col| {
        dy[m * n + row] as f64 * w[row * k + col] as f64
    });
    let what = format!("dX of {m} tokens, {:?}, {dtype}", matrix.layout());
    assert_within(&dx.read(&client), &expected, &bounds, &what);
}

fn assert_weight_gradient(x: &Reference, n: usize, dtype: FloatType) {
    let client = client();
    let (m, k) = (x.rows(), x.in_features());
    let dy = floats(&mut rng(m + n), m * n, dtype);
    let dw = Out::new(&client, [n, k], k + 2, dtype);
    let input = float_matrix(&client, &dy, [m, n], n + 3, dtype);
    backward::weight(&client, &input, &activations(&client, x), &dw.matrix).unwrap();
    let dense = x.dequantize();
    let (expected, bounds) = product(n, m, k, dtype, |row, m, col| {
        dy[m * n + row] as f64 * dense[m * k + col] as f64
    });
    let what = format!("dW of {m} tokens, [{n}, {k}], {dtype}");
    assert_within(&dw.read(&client), &expected, &bounds, &what);
}

#[test]
fn input_gradients_are_close_to_f64_sums_for_every_shape_and_granularity() {
    for (i, (n, k)) in WEIGHT_SHAPES.into_iter().enumerate() {
        for layout in layouts(n, k) {
            let matrix = matrix(&mut rng(i), &layout);
            for m in TOKENS {
                assert_input_gradient(m, &matrix, FloatType::F32);
            }
        }
    }
}

#[test]
fn weight_gradients_are_close_to_f64_sums_for_every_shape() {
    for (i, (n, k)) in WEIGHT_SHAPES.into_iter().enumerate() {
        for m in TOKENS {
            assert_weight_gradient(&tokens(&mut rng(i), m, k), n, FloatType::F32);
        }
    }
}

#[test]
fn half_precision_gradients_are_summed_in_f32() {
    let matrix = matrix(
        &mut rng(1),
        &layout(33, 100, WeightCode::Ternary, ScaleGranularity::Tensor),
    );
    for dtype in supported([FloatType::F16, FloatType::BF16]) {
        assert_input_gradient(9, &matrix, dtype);
        assert_weight_gradient(&tokens(&mut rng(2), 9, 100), 33, dtype);
    }
}

#[test]
fn without_tokens_the_weight_gradient_is_zero() {
    let client = client();
    let x = tokens(&mut rng(3), 0, 20);
    let dw = Out::new(&client, [3, 20], 20, FloatType::F32);
    let dy = float_matrix(&client, &[], [0, 3], 3, FloatType::F32);
    backward::weight(&client, &dy, &activations(&client, &x), &dw.matrix).unwrap();
    assert_eq!(dw.read(&client), vec![0.0; 60]);
}

#[test]
fn a_nan_token_makes_the_weight_gradient_nan_and_a_nan_scale_the_input_gradient() {
    let client = client();
    let mut x = floats(&mut rng(4), 2 * 20, FloatType::F32);
    x[5] = f32::NAN;
    let x = Reference::quantize(&x, 20).unwrap();
    let dw = Out::new(&client, [3, 20], 20, FloatType::F32);
    let dy = float_matrix(&client, &[1.0; 6], [2, 3], 3, FloatType::F32);
    backward::weight(&client, &dy, &activations(&client, &x), &dw.matrix).unwrap();
    assert!(dw.read(&client).iter().all(|g| g.is_nan()));

    for scale in granularities(3) {
        let mut w = floats(&mut rng(5), 3 * 20, FloatType::F32);
        w[0] = f32::NAN;
        let layout = layout(3, 20, WeightCode::Ternary, scale);
        let matrix = quantize::quantize_weights(&w, &layout).unwrap();
        let dx = Out::new(&client, [2, 20], 20, FloatType::F32);
        backward::input(&client, &dy, &weights(&client, &matrix), &dx.matrix).unwrap();
        let spoilt = layout.scale_span().min(20);
        for (i, g) in dx.read(&client).iter().enumerate() {
            assert_eq!(g.is_nan(), i % 20 < spoilt, "{layout:?}: input {i} is {g}");
        }
    }
}

#[test]
fn the_same_operands_give_the_same_bits_twice() {
    let client = client();
    let matrix = matrix(
        &mut rng(6),
        &layout(
            33,
            257,
            WeightCode::Int2,
            ScaleGranularity::Group { size: 64 },
        ),
    );
    let dy = floats(&mut rng(7), 7 * 33, FloatType::F32);
    let dy = float_matrix(&client, &dy, [7, 33], 33, FloatType::F32);
    let [a, b] = [(); 2].map(|()| {
        let dx = Out::new(&client, [7, 257], 257, FloatType::F32);
        backward::input(&client, &dy, &weights(&client, &matrix), &dx.matrix).unwrap();
        dx.read(&client)
    });
    assert_bits(&a, &b, "second run");
}
