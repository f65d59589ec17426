//! W2A16 products against sums in f64.

use rstest::rstest;
use tritburn_formats::matrix::PackedMatrix;
use tritburn_formats::{ScaleGranularity, WeightCode};
use tritburn_kernels::product::portable::gemm::GemmBlueprint;
use tritburn_kernels::product::portable::gemv::GemvBlueprint;
use tritburn_kernels::product::{self, Plan, Strategy};
use tritburn_kernels::{FloatType, IntegerDot, UnitTile};

use crate::device::{client, supported};
use crate::harness::*;
use crate::reference;

fn strategies() -> [Strategy; 3] {
    [
        Strategy::Auto,
        Strategy::Forced(Plan::Gemm(GemmBlueprint {
            tile: UnitTile { rows: 2, tokens: 3 },
            units_n: 1,
            units_m: 2,
            dot: IntegerDot::Dp4a,
            lanes: 4,
        })),
        Strategy::Forced(Plan::Gemv(GemvBlueprint {
            tile: UnitTile { rows: 2, tokens: 2 },
            lanes: 2,
            groups: 1,
            dot: IntegerDot::Dp4a,
            vector: 8,
        })),
    ]
}

struct Case<'a> {
    x: &'a [f32],
    m: usize,
    stride: usize,
    dtype: FloatType,
    matrix: &'a PackedMatrix,
    bias: Option<&'a [f32]>,
    strategy: Strategy,
}

impl Case<'_> {
    fn run(&self) -> Vec<f32> {
        let client = client();
        let layout = self.matrix.layout();
        let (n, k) = (layout.out_features(), layout.in_features());
        let x = float_matrix(&client, self.x, [self.m, k], self.stride, self.dtype);
        let out = Out::new(&client, [self.m, n], n + 1, self.dtype);
        let bias = self.bias.map(|b| float_vector(&client, b, FloatType::F32));
        let weights = weights(&client, self.matrix);
        product::w2a16(
            &client,
            &x,
            &weights,
            bias.as_ref(),
            &out.matrix,
            self.strategy,
        )
        .unwrap();
        out.read(&client)
    }

    fn assert_close(&self) {
        let layout = self.matrix.layout();
        let w = self.matrix.dequantize();
        let k = layout.in_features();
        let (expected, bounds) = reference::linear(self.x, &w, self.bias, k, self.dtype);
        let what = format!("{layout:?} {:?} {}", self.strategy, self.dtype);
        assert_within(&self.run(), &expected, &bounds, &what);
    }
}

#[rstest]
#[case::auto(0)]
#[case::gemm(1)]
#[case::gemv(2)]
fn outputs_are_close_to_f64_sums_for_every_shape_and_granularity(#[case] strategy: usize) {
    for (i, (n, k)) in WEIGHT_SHAPES.into_iter().enumerate() {
        for layout in layouts(n, k) {
            for m in [1, 7] {
                let mut rng = rng(100 * i + m);
                let matrix = matrix(&mut rng, &layout);
                let x = floats(&mut rng, m * k, FloatType::F32);
                Case {
                    x: &x,
                    m,
                    stride: k + 5,
                    dtype: FloatType::F32,
                    matrix: &matrix,
                    bias: None,
                    strategy: strategies()[strategy],
                }
                .assert_close();
            }
        }
    }
}

#[test]
fn half_precision_inputs_wide_and_narrow_loads_and_bias() {
    // 64 inputs with a stride of 72 load 16 bytes at once; a stride of 67 does not.
    for dtype in supported(FLOATS) {
        for stride in [64, 67, 72] {
            let mut rng = rng(stride);
            let layout = layout(21, 64, WeightCode::Ternary, ScaleGranularity::Row);
            let matrix = matrix(&mut rng, &layout);
            let x = floats(&mut rng, 5 * 64, dtype);
            let bias = floats(&mut rng, 21, FloatType::F32);
            for strategy in strategies() {
                Case {
                    x: &x,
                    m: 5,
                    stride,
                    dtype,
                    matrix: &matrix,
                    bias: Some(&bias),
                    strategy,
                }
                .assert_close();
            }
        }
    }
}

#[test]
fn a_nan_input_gives_a_nan_row_and_spoils_no_other() {
    let layout = layout(3, 20, WeightCode::Int2, ScaleGranularity::Tensor);
    let matrix = matrix(&mut rng(1), &layout);
    let mut x = floats(&mut rng(2), 3 * 20, FloatType::F32);
    x[20 + 19] = f32::NAN;
    for strategy in strategies() {
        let case = Case {
            x: &x,
            m: 3,
            stride: 20,
            dtype: FloatType::F32,
            matrix: &matrix,
            bias: None,
            strategy,
        };
        for (i, y) in case.run().iter().enumerate() {
            assert_eq!(y.is_nan(), i / 3 == 1, "{strategy:?}: output {i} is {y}");
        }
        assert_bits(&case.run(), &case.run(), "second run");
    }
}

#[test]
fn no_tokens_are_no_work() {
    let matrix = matrix(
        &mut rng(1),
        &layout(3, 20, WeightCode::Int2, ScaleGranularity::Tensor),
    );
    for strategy in strategies() {
        let case = Case {
            x: &[],
            m: 0,
            stride: 20,
            dtype: FloatType::F32,
            matrix: &matrix,
            bias: None,
            strategy,
        };
        assert!(case.run().is_empty());
    }
}
