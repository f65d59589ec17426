//! Attention with gradients on tensor cores, against sums in f64.

use cubecl::client::Client;
use rstest::rstest;
use tritburn_kernels::decoder::attention::training::cuda::{self, FlashPlans};
use tritburn_kernels::decoder::attention::training::{self, AttentionShape};
use tritburn_kernels::{FloatMatrix, FloatType, KernelError};

use crate::attention_reference::Case;
use crate::harness::*;
use crate::support::{client, shifted_matrix};

/// The bits of both passes' results.
#[derive(PartialEq)]
struct Found {
    out: Vec<f32>,
    statistics: Vec<f32>,
    d_qkv: Vec<f32>,
}

fn matrices(
    client: &Client,
    case: &Case,
    dtype: FloatType,
    spare: usize,
) -> (FloatMatrix, FloatMatrix) {
    let shape = case.shape;
    let matrix = |data: &[f32], cols: usize| {
        shifted_matrix(client, data, [shape.tokens(), cols], cols + spare, dtype)
    };
    (
        matrix(&case.qkv, shape.qkv_cols()),
        matrix(&case.d_out, shape.out_cols()),
    )
}

/// Both passes with `plans`, or those that the selector picks.
fn run(case: &Case, dtype: FloatType, spare: usize, plans: Option<&FlashPlans>) -> Found {
    let client = client();
    let shape = &case.shape;
    let (qkv, d_out) = matrices(&client, case, dtype, spare);
    let (tokens, qkv_cols, out_cols) = (shape.tokens(), shape.qkv_cols(), shape.out_cols());
    let out = Out::new(&client, [tokens, out_cols], out_cols + spare, dtype);
    let d_qkv = Out::new(&client, [tokens, qkv_cols], qkv_cols + spare, dtype);
    let (y, dx) = (&out.matrix, &d_qkv.matrix);
    let (stats, handle) = empty(&client, shape.rows());
    let scale = case.scale;
    match plans {
        Some(plans) => {
            cuda::forward(&client, &qkv, shape, scale, y, &stats, plans).unwrap();
            cuda::backward(&client, &qkv, y, &stats, &d_out, shape, scale, dx, plans).unwrap();
        }
        None => {
            training::forward(&client, &qkv, shape, scale, y, &stats).unwrap();
            training::backward(&client, &qkv, y, &stats, &d_out, shape, scale, dx).unwrap();
        }
    }
    Found {
        out: out.read(&client),
        statistics: read_f32(&client, &handle),
        d_qkv: d_qkv.read(&client),
    }
}

fn assert_close(case: &Case, dtype: FloatType, found: &Found, what: &str) {
    let expected = case.expected(dtype);
    let results = [
        ("out", &found.out, &expected.out),
        ("statistics", &found.statistics, &expected.statistics),
        ("d_qkv", &found.d_qkv, &expected.d_qkv),
    ];
    for (name, found, expected) in results {
        let what = format!("{:?} {dtype} {what}: {name}", case.shape);
        assert_within(found, &expected.values, &expected.bounds, &what);
    }
}

#[rstest]
fn both_passes_equal_the_reference(
    #[values(FloatType::F16, FloatType::BF16)] dtype: FloatType,
    #[values((1, 1), (4, 2), (12, 12), (8, 1))] heads: (usize, usize),
    #[values(32, 64, 128)] dim: usize,
) {
    for (batch, length, spare) in [(1, 1, 0), (3, 17, 8), (2, 64, 0), (2, 100, 24), (1, 300, 8)] {
        let shape = AttentionShape {
            batch,
            length,
            heads: heads.0,
            kv_heads: heads.1,
            dim,
        };
        let case = Case::random(shape, dtype);
        let plans = FlashPlans::new(dim, dtype).expect("plans");
        let found = run(&case, dtype, spare, Some(&plans));
        assert_close(&case, dtype, &found, &format!("spare {spare}"));
        let chosen = run(&case, dtype, spare, None);
        assert!(
            chosen == found,
            "{shape:?} {dtype}: the selector took another kernel"
        );
    }
}

#[rstest]
fn long_sequences_equal_the_reference_and_themselves(
    #[values((64, 2, 2), (64, 4, 1), (128, 2, 1))] heads: (usize, usize, usize),
) {
    let dtype = FloatType::BF16;
    let shape = AttentionShape {
        batch: 2,
        length: 1024,
        heads: heads.1,
        kv_heads: heads.2,
        dim: heads.0,
    };
    let case = Case::random(shape, dtype);
    let first = run(&case, dtype, 8, None);
    assert_close(&case, dtype, &first, "long");
    for repeat in 1..20 {
        assert!(
            run(&case, dtype, 8, None) == first,
            "repeat {repeat} has other bits"
        );
    }
}

/// Scores far apart: softmax weights of 1 and of next to nothing, and sums that are rescaled.
#[test]
fn large_scores_keep_their_order() {
    let dtype = FloatType::BF16;
    let shape = AttentionShape {
        batch: 1,
        length: 200,
        heads: 2,
        kv_heads: 1,
        dim: 64,
    };
    let mut case = Case::random(shape, dtype);
    case.scale = 2.0;
    let found = run(&case, dtype, 0, None);
    assert_close(&case, dtype, &found, "scale 2");
}

#[test]
fn rows_that_cannot_be_copied_in_lines_take_the_portable_kernels() {
    let dtype = FloatType::BF16;
    let shape = AttentionShape {
        batch: 2,
        length: 70,
        heads: 2,
        kv_heads: 1,
        dim: 64,
    };
    let case = Case::random(shape, dtype);
    let found = run(&case, dtype, 3, None);
    assert_close(&case, dtype, &found, "spare 3");
    let plans = FlashPlans::new(64, dtype).unwrap();
    let client = client();
    let (qkv, d_out) = matrices(&client, &case, dtype, 3);
    let (stats, _) = empty(&client, shape.rows());
    let refused = cuda::forward(&client, &qkv, &shape, 1.0, &d_out, &stats, &plans);
    assert!(
        matches!(refused, Err(KernelError::Plan { .. })),
        "{refused:?}"
    );
}

#[test]
fn nan_reaches_every_position_that_sees_it() {
    let dtype = FloatType::BF16;
    let shape = AttentionShape {
        batch: 2,
        length: 150,
        heads: 2,
        kv_heads: 1,
        dim: 64,
    };
    for head in 0..4 {
        let mut case = Case::random(shape, dtype);
        case.qkv[40 * shape.qkv_cols() + head * 64 + 3] = f32::NAN;
        let out = run(&case, dtype, 0, None).out;
        for (i, y) in out.iter().enumerate() {
            let (token, column) = (i / 128, i % 128);
            let hit = match head {
                0 | 1 => token == 40 && column / 64 == head,
                2 => (40..150).contains(&token),
                _ => (40..150).contains(&token) && column % 64 == 3,
            };
            assert!(
                !hit || y.is_nan(),
                "head {head}: token {token}, column {column}"
            );
            assert!(token < 150 || y.is_finite(), "another sequence");
        }
    }
}
