//! AdamW against the same operations on the host, and clipping.

use tritburn_kernels::optimizer::{self, AdamW, AdamWOperands};
use tritburn_kernels::{Buffer, FloatType};

use crate::device::{client, rounds_every_operation, supported};
use crate::harness::*;

/// Rows, columns, spare columns.
const SHAPES: [(usize, usize, usize); 5] =
    [(0, 3, 0), (1, 1, 0), (3, 37, 3), (17, 768, 0), (5, 64, 16)];

fn constants(step: u32) -> AdamW {
    AdamW {
        lr: 3e-3,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.1,
        step,
    }
}

/// Burn's operations, each rounded to f32: parameter, first and second moment.
fn step(a: &AdamW, [p, m, v]: [f32; 3], g: f32) -> [f32; 3] {
    let m = m * a.beta1 + g * (1.0 - a.beta1);
    let v = v * a.beta2 + g * g * (1.0 - a.beta2);
    let first = m / (1.0 - a.beta1.powi(a.step as i32));
    let second = v / (1.0 - a.beta2.powi(a.step as i32));
    let delta = first / (second.sqrt() + a.epsilon);
    let keep = (1.0 - a.lr * f64::from(a.weight_decay)) as f32;
    [p * keep - delta * a.lr as f32, m, v]
}

#[test]
fn steps_equal_the_composed_operations() {
    let client = client();
    for (i, (rows, cols, spare)) in SHAPES.into_iter().enumerate() {
        for dtype in supported(FLOATS) {
            let what = format!("{rows}x{cols} + {spare} {dtype}");
            let (shape, stride, len) = ([rows, cols], cols + spare, rows * cols);
            let mut rng = rng(i);
            let mut state = [
                floats(&mut rng, len, FloatType::F32),
                vec![0.0; len],
                vec![0.0; len],
            ];
            let out = state.each_ref().map(|data| {
                // All contiguous, or rows of their own pitch.
                Out::filled(&client, data, shape, stride, FloatType::F32)
            });
            let factor = (i % 2 == 1).then(|| scales(&client, &[0.37]));
            for t in 1..4 {
                let grad = floats(&mut rng, len, dtype);
                for at in 0..len {
                    let g = grad[at] * if factor.is_some() { 0.37 } else { 1.0 };
                    let new = step(&constants(t), state.each_ref().map(|x| x[at]), g);
                    state.iter_mut().zip(new).for_each(|(x, new)| x[at] = new);
                }
                let grad = float_matrix(&client, &grad, shape, cols, dtype);
                let [param, m, v] = out.each_ref().map(|out| &out.matrix);
                let operands = AdamWOperands {
                    param,
                    grad: &grad,
                    m,
                    v,
                };
                optimizer::adamw_many(&client, constants(t), factor.as_ref(), &[operands]).unwrap();
            }
            for (found, expected) in out.iter().zip(&state) {
                let found = found.read(&client);
                if rounds_every_operation(&client) {
                    assert_bits(&found, expected, &what);
                } else {
                    // Contracted products; a delta is at most some steps of lr.
                    let expected: Vec<f64> = expected.iter().map(|&x| x as f64).collect();
                    let bounds: Vec<f64> = expected.iter().map(|x| 1e-6 * x.abs() + 1e-7).collect();
                    assert_within(&found, &expected, &bounds, &what);
                }
            }
        }
    }
}

#[test]
fn a_norm_over_several_gradients_clips_all_alike() {
    let client = client();
    for dtype in supported(FLOATS) {
        let mut rng = rng(7);
        let (sums, handle) = empty(&client, SHAPES.len() + 1);
        let mut expected = vec![];
        let shapes = SHAPES.into_iter().chain([(300, 4096, 0)]);
        for (index, (rows, cols, spare)) in shapes.enumerate() {
            let x = floats(&mut rng, rows * cols, dtype);
            expected.push(x.iter().map(|&x| (x as f64).powi(2)).sum::<f64>());
            let x = float_matrix(&client, &x, [rows, cols], cols + spare, dtype);
            optimizer::square_sum(&client, &x, &sums, index).unwrap();
        }
        let bounds: Vec<f64> = expected.iter().map(|sum| 1e-5 * sum).collect();
        assert_within(&read_f32(&client, &handle), &expected, &bounds, "sums");

        let ([norm, factor], handles) = outputs();
        for max_norm in [1.0, 1e9] {
            optimizer::clip_factor(&client, &sums, max_norm, &norm, &factor).unwrap();
            let found = handles
                .each_ref()
                .map(|handle| read_f32(&client, handle)[0]);
            let whole = expected.iter().sum::<f64>().sqrt();
            let clipped = (max_norm as f64 / (whole + 1e-6)).min(1.0);
            assert!((found[0] as f64 - whole).abs() < 1e-5 * whole);
            assert!((found[1] as f64 - clipped).abs() < 1e-5 * clipped);
        }
    }
}

fn outputs() -> ([Buffer; 2], [cubecl::server::Handle; 2]) {
    let client = client();
    let [(norm, norm_handle), (factor, factor_handle)] = [empty(&client, 1), empty(&client, 1)];
    ([norm, factor], [norm_handle, factor_handle])
}

#[test]
fn a_norm_of_nan_is_not_hidden() {
    let client = client();
    let ([norm, factor], handles) = outputs();
    let sums = scales(&client, &[1.0, f32::NAN, 2.0]);
    optimizer::clip_factor(&client, &sums, 1.0, &norm, &factor).unwrap();
    for handle in &handles {
        assert!(read_f32(&client, handle)[0].is_nan());
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let client = client();
    let matrix = |cols, dtype| float_matrix(&client, &vec![0.0; cols], [1, cols], cols, dtype);
    let (x, half) = (matrix(4, FloatType::F32), matrix(4, FloatType::F16));
    let short = matrix(3, FloatType::F32);
    let error = |t, grad, m| {
        let operands = AdamWOperands {
            param: &x,
            grad,
            m,
            v: &x,
        };
        let result = optimizer::adamw(&client, constants(t), None, operands);
        result.unwrap_err().to_string()
    };
    assert_eq!(
        error(1, &short, &x),
        "gradient has shape [1, 3], expected [1, 4]"
    );
    assert_eq!(error(1, &half, &half), "first moment is f16, expected f32");
    assert_eq!(
        error(0, &x, &x),
        "step of AdamW is 0, kernels take 1 and more"
    );
    let sums = scales(&client, &[0.0; 2]);
    let result = optimizer::square_sum(&client, &x, &sums, 2);
    assert_eq!(
        result.unwrap_err().to_string(),
        "sums of squares needs 3 elements, the buffer was given with 2"
    );
}
