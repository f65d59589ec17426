//! Attention with gradients, against sums in f64.

use tritburn_kernels::decoder::attention::training::{self, AttentionShape};
use tritburn_kernels::{FloatMatrix, FloatType, KernelError};

use crate::attention_reference::Case;
use crate::device::{client, supported};
use crate::harness::*;

const fn shape(
    batch: usize,
    length: usize,
    heads: usize,
    kv_heads: usize,
    dim: usize,
) -> AttentionShape {
    AttentionShape {
        batch,
        length,
        heads,
        kv_heads,
        dim,
    }
}

/// Results of both passes on the device, rows of every matrix `spare` elements apart.
struct Found {
    out: Vec<f32>,
    statistics: Vec<f32>,
    d_qkv: Vec<f32>,
}

fn run(case: &Case, dtype: FloatType, spare: usize) -> Found {
    let client = client();
    let shape = case.shape;
    let (tokens, qkv_cols, out_cols) = (shape.tokens(), shape.qkv_cols(), shape.out_cols());
    let qkv_shape = [tokens, qkv_cols];
    let out_shape = [tokens, out_cols];
    let qkv = float_matrix(&client, &case.qkv, qkv_shape, qkv_cols + spare, dtype);
    let d_out = float_matrix(&client, &case.d_out, out_shape, out_cols + spare, dtype);
    let out = Out::new(&client, out_shape, out_cols + spare, dtype);
    let d_qkv = Out::new(&client, qkv_shape, qkv_cols + spare, dtype);
    let (statistics, handle) = empty(&client, shape.rows());
    let scale = case.scale;
    training::forward(&client, &qkv, &shape, scale, &out.matrix, &statistics).unwrap();
    training::backward(
        &client,
        &qkv,
        &out.matrix,
        &statistics,
        &d_out,
        &shape,
        scale,
        &d_qkv.matrix,
    )
    .unwrap();
    Found {
        out: out.read(&client),
        statistics: read_f32(&client, &handle),
        d_qkv: d_qkv.read(&client),
    }
}

fn assert_close(shape: AttentionShape, dtype: FloatType, spare: usize) {
    let case = Case::random(shape, dtype);
    let found = run(&case, dtype, spare);
    let expected = case.expected(dtype);
    let what = format!("{shape:?} {dtype} spare {spare}");
    let results = [
        ("out", &found.out, &expected.out),
        ("statistics", &found.statistics, &expected.statistics),
        ("d_qkv", &found.d_qkv, &expected.d_qkv),
    ];
    for (name, found, expected) in results {
        let what = format!("{what}: {name}");
        assert_within(found, &expected.values, &expected.bounds, &what);
    }
}

#[test]
fn both_passes_equal_the_reference_for_every_type_and_awkward_shapes() {
    for dtype in supported(FLOATS) {
        for spare in [0, 3] {
            assert_close(shape(1, 1, 1, 1, 8), dtype, spare);
            assert_close(shape(2, 17, 4, 2, 24), dtype, spare);
            assert_close(shape(1, 33, 3, 1, 7), dtype, spare);
            assert_close(shape(2, 9, 2, 2, 64), dtype, spare);
            assert_close(shape(1, 5, 1, 1, 160), dtype, spare);
        }
    }
}

/// The reference itself: its gradient is that of its output.
#[test]
fn gradients_equal_finite_differences() {
    let dtype = FloatType::F32;
    let mut case = Case::random(shape(2, 5, 4, 2, 3), dtype);
    let gradient = run(&case, dtype, 0).d_qkv;
    let h = 2f32.powi(-10);
    for (i, &gradient) in gradient.iter().enumerate() {
        let x = case.qkv[i];
        let sides = [x + h, x - h].map(|moved| {
            case.qkv[i] = moved;
            (case.loss(), moved as f64)
        });
        case.qkv[i] = x;
        let slope = (sides[0].0 - sides[1].0) / (sides[0].1 - sides[1].1);
        // Third derivatives are of the order of 1: h² of them, and f32 sums of terms of that order.
        let off = (gradient as f64 - slope).abs();
        assert!(off <= 1e-4, "d_qkv[{i}] is {gradient}, expected {slope}");
    }
}

#[test]
fn nan_reaches_the_positions_that_see_it_and_no_others() {
    let dtype = FloatType::F32;
    let shape = shape(2, 9, 4, 2, 8);
    let clean = Case::random(shape, dtype);
    let dim = shape.dim;
    // (head of qkv, heads of the output, the positions that see it)
    let last = shape.length;
    let cases = [(1, 1..2, 4..5), (4, 0..2, 4..last), (7, 2..4, 4..last)];
    for (head, heads, positions) in cases {
        let mut case = Case::random(shape, dtype);
        // Position 4 of the second sequence.
        let token = shape.length + 4;
        case.qkv[token * shape.qkv_cols() + head * dim + 3] = f32::NAN;
        let found = run(&case, dtype, 0).out;
        let expected = run(&clean, dtype, 0).out;
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let (token, column) = (i / shape.out_cols(), i % shape.out_cols());
            let within = heads.contains(&(column / dim))
                && token >= shape.length
                && positions.contains(&(token - shape.length));
            // One head's column of V is NaN, not the others.
            let hit = within && (head != 7 || column % dim == 3);
            assert_eq!(
                found.is_nan(),
                hit,
                "head {head}: token {token}, column {column}"
            );
            assert!(hit || found == expected, "token {token}, column {column}");
        }
    }
}

#[test]
fn no_tokens_launch_nothing() {
    for shape in [shape(0, 4, 2, 1, 8), shape(3, 0, 2, 1, 8)] {
        let client = client();
        let matrix = |cols| float_matrix(&client, &[], [0, cols], cols, FloatType::F32);
        let (qkv, out) = (matrix(shape.qkv_cols()), matrix(shape.out_cols()));
        let (statistics, _) = empty(&client, 0);
        training::forward(&client, &qkv, &shape, 1.0, &out, &statistics).unwrap();
        training::backward(&client, &qkv, &out, &statistics, &out, &shape, 1.0, &qkv).unwrap();
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let client = client();
    let good = shape(2, 3, 4, 2, 8);
    let matrix = |rows: usize, cols: usize, dtype| {
        float_matrix(&client, &vec![0.0; rows * cols], [rows, cols], cols, dtype)
    };
    let (f32, f16) = (FloatType::F32, FloatType::F16);
    let (qkv, out) = (matrix(6, 64, f32), matrix(6, 32, f32));
    let (statistics, _) = empty(&client, 24);
    let forward = |shape: AttentionShape, qkv: &FloatMatrix, out: &FloatMatrix, rows: usize| {
        let (statistics, _) = empty(&client, rows);
        training::forward(&client, qkv, &shape, 1.0, out, &statistics)
    };
    let backward = |d_out: &FloatMatrix, d_qkv: &FloatMatrix| {
        training::backward(&client, &qkv, &out, &statistics, d_out, &good, 1.0, d_qkv)
    };
    assert_eq!(forward(good, &qkv, &out, 24), Ok(()));
    assert_eq!(backward(&out, &qkv), Ok(()));
    let refused = [
        (
            forward(AttentionShape { heads: 3, ..good }, &qkv, &out, 24),
            "number of query heads is 3, kernels take multiples of the key heads",
        ),
        (
            forward(
                AttentionShape {
                    kv_heads: 0,
                    ..good
                },
                &qkv,
                &out,
                24,
            ),
            "number of key heads is 0, kernels take at least 1",
        ),
        (
            forward(AttentionShape { dim: 0, ..good }, &qkv, &out, 24),
            "head dimension is 0, kernels take at least 1",
        ),
        (
            forward(
                AttentionShape {
                    batch: usize::MAX,
                    ..good
                },
                &qkv,
                &out,
                24,
            ),
            "qkv has shape [6, 64], expected [18446744073709551615, 64]",
        ),
        (
            forward(good, &out, &out, 24),
            "qkv has shape [6, 32], expected [6, 64]",
        ),
        (
            forward(good, &qkv, &qkv, 24),
            "attention output has shape [6, 64], expected [6, 32]",
        ),
        (
            forward(good, &qkv, &matrix(6, 32, f16), 24),
            "attention output is f16, expected f32",
        ),
        (
            forward(good, &qkv, &out, 23),
            "attention statistics needs 24 elements, the buffer was given with 23",
        ),
        (
            backward(&qkv, &qkv),
            "gradient of the attention output has shape [6, 64], expected [6, 32]",
        ),
        (
            backward(&out, &out),
            "gradient of qkv has shape [6, 32], expected [6, 64]",
        ),
        (
            backward(&matrix(6, 32, f16), &qkv),
            "gradient of the attention output is f16, expected f32",
        ),
        (
            backward(&out, &matrix(6, 64, f16)),
            "gradient of qkv is f16, expected f32",
        ),
    ];
    for (result, message) in refused {
        let error: KernelError = result.unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}
