//! Norm and gated unit, with and without the residual and the quantiser.

use tritburn_kernels::decoder::glu::{self, GatedActivation::SquaredRelu};
use tritburn_kernels::decoder::norm::{self, Residual, RowOutput};
use tritburn_kernels::{FloatType, QuantizedActivations};

use crate::device::{client, supported};
use crate::harness::*;
use crate::reference;

const EPS: f32 = 1e-5;

/// Rows, columns, spare columns: odd ones, whole lines, several lines a unit.
const SHAPES: [(usize, usize, usize); 5] = [
    (1, 1, 0),
    (3, 37, 3),
    (2, 640, 16),
    (3, 2560, 0),
    (1, 9216, 0),
];

struct Codes {
    out: QuantizedActivations,
    handles: [cubecl::server::Handle; 2],
}

impl Codes {
    fn new(m: usize, k: usize) -> Self {
        let client = client();
        let (codes, codes_handle) = empty(&client, m * QuantizedActivations::words_per_row(k));
        let (scales, scales_handle) = empty(&client, m);
        Self {
            out: QuantizedActivations::new(m, k, codes, scales).unwrap(),
            handles: [codes_handle, scales_handle],
        }
    }

    fn read(&self) -> (Vec<u32>, Vec<f32>) {
        let client = client();
        let [codes, scales] = &self.handles;
        (read_u32(&client, codes), read_f32(&client, scales))
    }
}

fn widen(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| x as f64).collect()
}

fn assert_close(found: &[f32], expected: &[f64], dtype: FloatType, what: &str) {
    let step = epsilon(dtype) + 1e-5;
    let bounds: Vec<f64> = expected.iter().map(|y| step * y.abs() + 1e-7).collect();
    assert_within(found, expected, &bounds, what);
}

#[test]
fn residual_norm_and_codes_equal_the_reference() {
    let client = client();
    for (i, (m, k, spare)) in SHAPES.into_iter().enumerate() {
        for dtype in supported(FLOATS) {
            let what = format!("{m}x{k} + {spare} {dtype}");
            let mut rng = rng(i);
            let x = floats(&mut rng, m * k, dtype);
            let add = floats(&mut rng, m * k, dtype);
            let gamma_type = if i % 2 == 0 { FloatType::F32 } else { dtype };
            let gamma = floats(&mut rng, k, gamma_type);
            let h = reference::sum(&x, &add, dtype);
            let y = reference::rms_norm(&widen(&h), &gamma, EPS);

            let x = float_matrix(&client, &x, [m, k], k + spare, dtype);
            let gamma = float_vector(&client, &gamma, gamma_type);
            let codes = Codes::new(m, k);
            if i % 2 == 0 {
                let add = float_matrix(&client, &add, [m, k], k, dtype);
                let sum = Out::new(&client, [m, k], k + spare, dtype);
                let residual = Residual::Add {
                    add: &add,
                    sum: &sum.matrix,
                };
                let out = RowOutput::Int8(&codes.out);
                norm::launch(&client, &x, residual, &gamma, EPS, out).unwrap();
                assert_bits(&sum.read(&client), &h, &what);
            } else {
                let stream = Out::filled(&client, &add, [m, k], k + spare, dtype);
                let residual = Residual::InPlace(&stream.matrix);
                let out = RowOutput::Int8(&codes.out);
                norm::launch(&client, &x, residual, &gamma, EPS, out).unwrap();
                assert_bits(&stream.read(&client), &h, &what);
            }
            let (words, scales) = codes.read();
            reference::assert_quantised(&words, &scales, &y, k, &what);
        }
    }
}

#[test]
fn plain_norm_to_floats_equals_the_reference() {
    let client = client();
    for (i, (m, k, spare)) in [(2, 33, 1), (2, 2560, 8)].into_iter().enumerate() {
        for dtype in supported(FLOATS) {
            let mut rng = rng(i + 10);
            let x = floats(&mut rng, m * k, dtype);
            let gamma = floats(&mut rng, k, FloatType::F32);
            let y = reference::rms_norm(&widen(&x), &gamma, EPS);
            let x = float_matrix(&client, &x, [m, k], k, dtype);
            let gamma = float_vector(&client, &gamma, FloatType::F32);
            let out = Out::new(&client, [m, k], k + spare, dtype);
            let to = RowOutput::Float(&out.matrix);
            norm::launch(&client, &x, Residual::None, &gamma, EPS, to).unwrap();
            let what = format!("{m}x{k} {dtype}");
            assert_close(&out.read(&client), &y, dtype, &what);
        }
    }
}

#[test]
fn gated_unit_equals_the_reference_where_f16_would_overflow() {
    let client = client();
    for (i, (m, inner, spare)) in [(3, 21, 2), (1, 6912, 0)].into_iter().enumerate() {
        for dtype in supported(FLOATS) {
            let mut rng = rng(i + 20);
            let mut gate_up = floats(&mut rng, m * 2 * inner, dtype);
            // 300² is past the largest f16.
            gate_up
                .iter_mut()
                .step_by(3)
                .for_each(|x| *x = round_to(*x * 300.0, dtype));
            let gamma = floats(&mut rng, inner, dtype);
            let y = reference::rms_norm(&reference::relu2(&gate_up, inner), &gamma, EPS);
            let stride = 2 * inner + spare;
            let x = float_matrix(&client, &gate_up, [m, 2 * inner], stride, dtype);
            let gamma = float_vector(&client, &gamma, dtype);
            let codes = Codes::new(m, inner);
            let norm = Some((&gamma, EPS));
            let to = RowOutput::Int8(&codes.out);
            glu::launch(&client, &x, SquaredRelu, norm, to).unwrap();
            let (words, scales) = codes.read();
            let what = format!("{m}x{inner} {dtype}");
            reference::assert_quantised(&words, &scales, &y, inner, &what);

            let out = Out::new(&client, [m, inner], inner + spare, dtype);
            let to = RowOutput::Float(&out.matrix);
            glu::launch(&client, &x, SquaredRelu, norm, to).unwrap();
            assert_close(&out.read(&client), &y, dtype, &what);
        }
    }
}

#[test]
fn a_row_with_nan_or_infinity_is_zeros_with_a_nan_scale_and_spoils_no_other() {
    let client = client();
    for k in [37, 640] {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x = floats(&mut rng(30), 3 * k, FloatType::F32);
            x[k + 36] = bad;
            let gamma = float_vector(&client, &vec![1.0; k], FloatType::F32);
            let x = float_matrix(&client, &x, [3, k], k, FloatType::F32);
            let codes = Codes::new(3, k);
            let out = RowOutput::Int8(&codes.out);
            norm::launch(&client, &x, Residual::None, &gamma, EPS, out).unwrap();
            let (words, scales) = codes.read();
            let per_row = QuantizedActivations::words_per_row(k);
            assert!(scales[1].is_nan() && scales[0].is_finite() && scales[2].is_finite());
            assert!(words[per_row..2 * per_row].iter().all(|&word| word == 0));
            assert!(words[..per_row].iter().any(|&word| word != 0));
        }
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let client = client();
    let x = float_matrix(&client, &[0.0; 8], [2, 4], 4, FloatType::F32);
    let gamma = float_vector(&client, &[0.0; 4], FloatType::F32);
    let short = float_vector(&client, &[0.0; 3], FloatType::F32);
    let half = float_matrix(&client, &[0.0; 8], [2, 4], 4, FloatType::F16);
    let odd = float_matrix(&client, &[0.0; 6], [2, 3], 3, FloatType::F32);
    let out = RowOutput::Float(&x);
    let norm = Some((&gamma, EPS));
    let error = |result: Result<(), tritburn_kernels::KernelError>| result.unwrap_err().to_string();
    assert_eq!(
        error(norm::launch(&client, &x, Residual::None, &short, EPS, out)),
        "gamma needs 4 elements, the buffer was given with 3"
    );
    assert_eq!(
        error(norm::launch(
            &client,
            &x,
            Residual::InPlace(&half),
            &gamma,
            EPS,
            out
        )),
        "residual sum is f16, expected f32"
    );
    assert_eq!(
        error(glu::launch(&client, &odd, SquaredRelu, norm, out)),
        "columns of gate and up is 3, kernels take even numbers"
    );
}

#[test]
fn heads_are_normalised_by_themselves_and_values_stay() {
    let client = client();
    // Tokens, query heads, key heads, columns of a head, spare columns.
    for (i, (rows, heads, kv_heads, dim, spare)) in [
        (0, 2, 1, 8, 0),
        (1, 1, 1, 3, 0),
        (5, 4, 2, 64, 0),
        (3, 3, 1, 128, 24),
        (2, 2, 2, 256, 0),
    ]
    .into_iter()
    .enumerate()
    {
        for dtype in supported(FLOATS) {
            let what = format!("{rows} tokens, {heads}+2x{kv_heads} heads of {dim} {dtype}");
            let cols = (heads + 2 * kv_heads) * dim;
            let x = floats(&mut rng(i), rows * cols, dtype);
            let gains = floats(&mut rng(i + 50), 2 * dim, FloatType::F32);
            let expected: Vec<f64> = x
                .chunks(dim)
                .enumerate()
                .flat_map(|(index, x)| {
                    let x = widen(x);
                    match index % (heads + 2 * kv_heads) {
                        head if head < heads => reference::rms_norm(&x, &gains[..dim], EPS),
                        head if head < heads + kv_heads => {
                            reference::rms_norm(&x, &gains[dim..], EPS)
                        }
                        _ => x,
                    }
                })
                .collect();
            let qkv = float_matrix(&client, &x, [rows, cols], cols + spare, dtype);
            let out = Out::new(&client, [rows, cols], cols, dtype);
            let norm = norm::HeadNorm {
                heads,
                kv_heads,
                dim,
                eps: EPS,
            };
            let gains = scales(&client, &gains);
            norm::heads(&client, &qkv, &gains, norm, &out.matrix).unwrap();
            assert_close(&out.read(&client), &expected, dtype, &what);

            let short = scales(&client, &vec![1.0; 2 * dim - 1]);
            assert!(norm::heads(&client, &qkv, &short, norm, &out.matrix).is_err());
        }
    }
}
