//! The backward products in half precision, against sums in f64.

use rand::RngExt;
use rstest::rstest;
use tritburn_formats::WeightCode;
use tritburn_formats::quantize::QuantizedActivations as Reference;
use tritburn_kernels::{FloatType, backward};

use crate::harness::*;
use crate::support::client;

/// `rows × cols` sums of `terms` and what half-precision products and f32 sums may be off by.
fn sums(
    [rows, inner, cols]: [usize; 3],
    dtype: FloatType,
    term: impl Fn(usize, usize, usize) -> f64,
) -> (Vec<f64>, Vec<f64>) {
    let outputs = (0..rows * cols).map(|at| {
        let terms = (0..inner).map(|i| term(at / cols, i, at % cols));
        let (sum, size) = terms.fold((0.0, 0.0), |(s, a), t| (s + t, a + t.abs()));
        // One operand is rounded once to half precision, the output once more.
        (sum, (size + sum.abs()) * epsilon(dtype) + 1e-6)
    });
    outputs.unzip()
}

#[rstest]
fn input_gradients_are_close(
    #[values(FloatType::F16, FloatType::BF16)] dtype: FloatType,
    #[values(WeightCode::Ternary, WeightCode::Int2)] code: WeightCode,
    #[values([1, 8, 16], [7, 200, 65], [130, 264, 300], [64, 1000, 129])] shape: [usize; 3],
) {
    let [m, n, k] = shape;
    let client = client();
    for scale in granularities(n) {
        let layout = layout(n, k, code, scale);
        let matrix = matrix(&mut rng(n), &layout);
        let dy = floats(&mut rng(m), m * n, dtype);
        let dx = Out::new(&client, [m, k], k + 3, dtype);
        let input = float_matrix(&client, &dy, [m, n], n.next_multiple_of(8), dtype);
        backward::input(&client, &input, &weights(&client, &matrix), &dx.matrix).unwrap();
        let w = matrix.dequantize();
        let (expected, bounds) = sums([m, n, k], dtype, |row, i, col| {
            dy[row * n + i] as f64 * w[i * k + col] as f64
        });
        let what = format!("dX of {m} tokens, {layout:?}, {dtype}");
        assert_within(&dx.read(&client), &expected, &bounds, &what);
    }
}

#[rstest]
fn weight_gradients_are_close(
    #[values(FloatType::F16, FloatType::BF16)] dtype: FloatType,
    #[values([64, 8, 16], [65, 200, 65], [130, 264, 300], [500, 129, 33], [1, 16, 16])]
    shape: [usize; 3],
) {
    let [m, n, k] = shape;
    let client = client();
    let x = tokens(&mut rng(k), m, k);
    let dy = floats(&mut rng(m), m * n, dtype);
    let dw = Out::new(&client, [n, k], k + 1, dtype);
    let input = float_matrix(&client, &dy, [m, n], n.next_multiple_of(8), dtype);
    backward::weight(&client, &input, &activations(&client, &x), &dw.matrix).unwrap();
    let dense = x.dequantize();
    let (expected, bounds) = sums([n, m, k], dtype, |row, i, col| {
        dy[i * n + row] as f64 * dense[i * k + col] as f64
    });
    let what = format!("dW of {m} tokens, {n} x {k}, {dtype}");
    assert_within(&dw.read(&client), &expected, &bounds, &what);
}

/// Scales that are powers of two and whole gradients leave nothing to round: every code must meet
/// its token's scale and gradient. The second shape has more tiles than a device has multiprocessors, the
/// third one step for each.
#[rstest]
fn weight_gradients_of_whole_numbers_are_exact(
    #[values((1000, 300, 700), (200, 2570, 2570), (64, 5000, 1500))] shape: (usize, usize, usize),
) {
    let (m, n, k) = shape;
    let client = client();
    let mut rng = rng(21);
    let scale = |token: usize| 2f32.powi(-((token % 5) as i32));
    let x: Vec<f32> = (0..m * k)
        .map(|i| {
            let top = i % k == i / k % k;
            let code = if top {
                127
            } else {
                rng.random_range(-127..=127)
            };
            code as f32 * scale(i / k)
        })
        .collect();
    let x = Reference::quantize(&x, k).expect("whole rows");
    let dy: Vec<f32> = (0..m * n)
        .map(|_| rng.random_range(-2..=2) as f32)
        .collect();
    let dw = Out::new(&client, [n, k], k, FloatType::F32);
    let input = float_matrix(&client, &dy, [m, n], n.next_multiple_of(8), FloatType::BF16);
    backward::weight(&client, &input, &activations(&client, &x), &dw.matrix).unwrap();
    let found = dw.read(&client);
    // Multiples of 1/16 below 2²⁰: f32 holds every sum.
    let mut expected = vec![0f32; n * k];
    for (dy, x) in dy.chunks(n).zip(x.dequantize().chunks(k)) {
        for (dy, sums) in dy.iter().zip(expected.chunks_mut(k)) {
            for (x, sum) in x.iter().zip(sums) {
                *sum += dy * x;
            }
        }
    }
    let wrong = (0..n * k).find(|&i| (found[i] - expected[i]).abs() >= 1e-3);
    let what = wrong.map(|i| (i / k, i % k, found[i], expected[i]));
    assert_eq!(what, None, "row, column, found, expected of {shape:?}");
}
