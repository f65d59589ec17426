//! Dense products of half precision, exactly: sums of small integers leave nothing to round.

use half::bf16;
use rand::RngExt;
use rstest::rstest;
use tritburn_kernels::dense::{self, DenseOperand, Depth};
use tritburn_kernels::{FloatMatrix, FloatType, KernelError};

use crate::harness::*;
use crate::support::client;

/// Integers `[rows, depth]`, and the same as they lie for an operand of depth `depth_in`.
struct Operand {
    values: Vec<f32>,
    matrix: FloatMatrix,
    depth: Depth,
}

impl Operand {
    fn new(
        client: &cubecl::client::Client,
        [rows, depth]: [usize; 2],
        depth_in: Depth,
        dtype: FloatType,
    ) -> Self {
        let mut rng = rng(rows + depth);
        let values: Vec<f32> = (0..rows * depth)
            .map(|_| rng.random_range(-4..=4) as f32)
            .collect();
        let (data, shape) = match depth_in {
            Depth::Columns => (values.clone(), [rows, depth]),
            Depth::Rows => {
                let at = |i: usize| values[i % rows * depth + i / rows];
                ((0..rows * depth).map(at).collect(), [depth, rows])
            }
        };
        let stride = shape[1].next_multiple_of(8);
        let matrix = float_matrix(client, &data, shape, stride, dtype);
        Self {
            values,
            matrix,
            depth: depth_in,
        }
    }

    fn operand(&self) -> DenseOperand<'_> {
        DenseOperand {
            matrix: &self.matrix,
            depth: self.depth,
        }
    }
}

fn products(left: &Operand, right: &Operand, depth: usize) -> Vec<f32> {
    let rows = left.values.chunks(depth);
    rows.flat_map(|row| {
        let cols = right.values.chunks(depth);
        cols.map(|col| row.iter().zip(col).map(|(a, b)| a * b).sum())
    })
    .collect()
}

/// Sizes around the tiles; the last three have depths that are cut into parts.
#[rstest]
fn sums_are_exact_in_every_order(
    #[values(Depth::Columns, Depth::Rows)] left_depth: Depth,
    #[values(Depth::Columns, Depth::Rows)] right_depth: Depth,
    #[values(
        [1, 1, 1],
        [3, 9, 70],
        [64, 256, 64],
        [129, 255, 65],
        [257, 513, 130],
        [5000, 258, 33],
        [300, 130, 2000],
        [768, 256, 1024],
        [31, 77, 4099]
    )]
    sizes: [usize; 3],
) {
    let [rows, cols, depth] = sizes;
    let client = client();
    let left = Operand::new(&client, [rows, depth], left_depth, FloatType::BF16);
    let right = Operand::new(&client, [cols, depth], right_depth, FloatType::BF16);
    let expected = products(&left, &right, depth);
    let what = format!("{sizes:?}, {left_depth:?}, {right_depth:?}");
    // Contiguous, and pitched with rows that start at no pair.
    for stride in [cols, cols + 3] {
        let out = Out::new(&client, [rows, cols], stride, FloatType::F32);
        for times in 1..=2 {
            let (left, right) = (left.operand(), right.operand());
            dense::launch(&client, left, right, &out.matrix, times > 1).unwrap();
            let found = out.read(&client);
            let times = times as f32;
            let wrong = (0..rows * cols).find(|&i| found[i] != times * expected[i]);
            let wrong = wrong.map(|i| (i / cols, i % cols, found[i], times * expected[i]));
            assert_eq!(wrong, None, "row, column, found, expected of {what}");
        }
    }
}

#[rstest]
fn outputs_are_rounded_once(
    #[values(FloatType::F16, FloatType::BF16)] dtype: FloatType,
    #[values([130, 300, 100], [200, 100, 3000])] sizes: [usize; 3],
) {
    let [rows, cols, depth] = sizes;
    let client = client();
    let left = Operand::new(&client, [rows, depth], Depth::Columns, dtype);
    let right = Operand::new(&client, [cols, depth], Depth::Columns, dtype);
    let out = Out::new(&client, [rows, cols], cols, dtype);
    dense::launch(&client, left.operand(), right.operand(), &out.matrix, false).unwrap();
    let rounded = |x: f32| match dtype {
        FloatType::F16 => half::f16::from_f32(x).to_f32(),
        _ => bf16::from_f32(x).to_f32(),
    };
    let expected = products(&left, &right, depth).into_iter().map(rounded);
    assert_eq!(out.read(&client), expected.collect::<Vec<_>>());
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let client = client();
    let left = Operand::new(&client, [8, 64], Depth::Columns, FloatType::BF16);
    let shorter = Operand::new(&client, [8, 32], Depth::Columns, FloatType::BF16);
    let float = Operand::new(&client, [8, 64], Depth::Columns, FloatType::F32);
    let out = Out::new(&client, [8, 8], 8, FloatType::F32);
    let launch = |right: &Operand| {
        dense::launch(&client, left.operand(), right.operand(), &out.matrix, false)
    };
    assert!(matches!(launch(&shorter), Err(KernelError::Shape { .. })));
    assert!(matches!(launch(&float), Err(KernelError::Plan { .. })));
}
