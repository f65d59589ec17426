//! W2A8 products: integer sums exact, the rescale as tritburn-formats states it.

use rstest::rstest;
use tritburn_formats::matrix::PackedMatrix;
use tritburn_formats::quantize::QuantizedActivations as Reference;
use tritburn_formats::{ScaleGranularity, WeightCode, reference};
use tritburn_kernels::product::portable::gemm::GemmBlueprint;
use tritburn_kernels::product::portable::gemv::GemvBlueprint;
use tritburn_kernels::product::{self, Plan, Strategy};
use tritburn_kernels::{FloatType, IntegerDot, QuantizedActivations, UnitTile};

use crate::device::{client, rounds_every_operation, supported};
use crate::harness::*;

/// Every portable kernel and way to multiply, small enough for two threads that wait on each other.
fn strategies() -> [Strategy; 4] {
    let gemm = |dot, tile| {
        Plan::Gemm(GemmBlueprint {
            tile,
            units_n: 2,
            units_m: 1,
            dot,
            lanes: 4,
        })
    };
    let gemv = Plan::Gemv(GemvBlueprint {
        tile: UnitTile { rows: 2, tokens: 3 },
        lanes: 2,
        groups: 1,
        dot: IntegerDot::Dp4a,
        vector: 4,
    });
    [
        Strategy::Auto,
        Strategy::Forced(gemm(IntegerDot::Dp4a, UnitTile { rows: 2, tokens: 3 })),
        Strategy::Forced(Plan::Gemm(GemmBlueprint {
            tile: UnitTile { rows: 3, tokens: 2 },
            units_n: 1,
            units_m: 2,
            dot: IntegerDot::Dp4a,
            lanes: 8,
        })),
        Strategy::Forced(gemv),
    ]
}

fn integers(x: &Reference, matrix: &PackedMatrix, strategy: Strategy) -> Vec<i32> {
    let client = client();
    let (y, handle) = empty(&client, x.rows() * matrix.layout().out_features());
    let weights = weights(&client, matrix);
    product::w2a8_i32(&client, &activations(&client, x), &weights, &y, strategy).unwrap();
    match x.rows() {
        0 => vec![],
        _ => read_i32(&client, &handle),
    }
}

struct Case<'a> {
    x: &'a Reference,
    matrix: &'a PackedMatrix,
    bias: Option<(&'a [f32], FloatType)>,
    dtype: FloatType,
    strategy: Strategy,
}

impl Case<'_> {
    fn run(&self) -> Vec<f32> {
        let client = client();
        let n = self.matrix.layout().out_features();
        let out = Out::new(&client, [self.x.rows(), n], n + 3, self.dtype);
        let bias = self
            .bias
            .map(|(bias, dtype)| float_vector(&client, bias, dtype));
        product::w2a8(
            &client,
            &activations(&client, self.x),
            &weights(&client, self.matrix),
            bias.as_ref(),
            &out.matrix,
            self.strategy,
        )
        .unwrap();
        out.read(&client)
    }

    fn assert_rescaled(&self) {
        let sums = reference::matmul_group_i32(self.x.bytes(), self.matrix);
        let bias = self.bias.map(|(bias, _)| bias);
        let exact = reference::rescale(&sums, self.x.scales(), self.matrix, bias);
        let what = format!(
            "{:?} {:?} {}",
            self.matrix.layout(),
            self.strategy,
            self.dtype
        );
        let found = self.run();
        if rounds_every_operation(&client()) {
            let expected: Vec<f32> = exact.iter().map(|&y| round_to(y, self.dtype)).collect();
            return assert_bits(&found, &expected, &what);
        }
        let magnitude = |sum: i32| sum.unsigned_abs() as f64;
        let groups = sums.len() / exact.len().max(1);
        let largest = self
            .matrix
            .scales()
            .iter()
            .fold(0.0, |a: f64, s| a.max(*s as f64));
        let n = self.matrix.layout().out_features();
        let bounds: Vec<f64> = (0..exact.len())
            .map(|i| {
                let terms = &sums[i * groups..(i + 1) * groups];
                let token = self.x.scales()[i / n] as f64;
                let size: f64 = terms.iter().map(|&s| magnitude(s)).sum::<f64>() * largest * token
                    + bias.map_or(0.0, |b| b[i % n].abs() as f64);
                size * (epsilon(self.dtype) + (groups + 4) as f64 * epsilon(FloatType::F32))
            })
            .collect();
        let expected: Vec<f64> = exact.iter().map(|&y| y as f64).collect();
        assert_within(&found, &expected, &bounds, &what);
    }
}

#[rstest]
#[case::auto(0)]
#[case::gemm(1)]
#[case::gemm_of_tokens(2)]
#[case::gemv(3)]
fn integer_sums_are_exact_for_every_shape(#[case] strategy: usize) {
    for code in CODES {
        for (i, (n, k)) in WEIGHT_SHAPES.into_iter().enumerate() {
            let layout = layout(n, k, code, ScaleGranularity::Tensor);
            // The last plan makes threads wait on each other, which is slow on a busy machine.
            let tokens_of = if strategy == 3 {
                &TOKENS[3..4]
            } else {
                &TOKENS
            };
            for &m in tokens_of {
                let mut rng = rng(100 * i + m);
                let (matrix, x) = (matrix(&mut rng, &layout), tokens(&mut rng, m, k));
                let found = integers(&x, &matrix, strategies()[strategy]);
                let expected = reference::matmul_i32(x.bytes(), &matrix);
                assert_eq!(found, expected, "{m} tokens, {layout:?}");
            }
        }
    }
}

#[rstest]
#[case(-128, 0)]
#[case(-128, 3)]
#[case(127, 0)]
#[case(127, 3)]
fn the_largest_sums_are_exact(#[case] q: i8, #[case] code: u32) {
    let (n, k) = (5, 1000);
    for strategy in strategies() {
        for table in CODES {
            let code = code.min(table.levels() - 1);
            let layout = layout(n, k, table, ScaleGranularity::Tensor);
            let word = (0..16).fold(0, |word, i| word | code << (2 * i));
            let matrix =
                PackedMatrix::new(layout.clone(), vec![word; layout.word_count()], vec![1.0]);
            let matrix = matrix.unwrap();
            let words_per_row = QuantizedActivations::words_per_row(k);
            let mut words = vec![u32::from_le_bytes([q as u8; 4]); words_per_row];
            // 1000 inputs are 250 words; the last two of 252 are padding.
            words[250..].fill(0);
            let client = client();
            let x = QuantizedActivations::new(
                1,
                k,
                crate::harness::words(&client, &words),
                scales(&client, &[1.0]),
            )
            .unwrap();
            let (y, handle) = empty(&client, n);
            product::w2a8_i32(&client, &x, &weights(&client, &matrix), &y, strategy).unwrap();
            let expected = q as i32 * table.value(code) * k as i32;
            assert_eq!(
                read_i32(&client, &handle),
                vec![expected; n],
                "{strategy:?} {table:?}"
            );
        }
    }
}

#[rstest]
#[case::auto(0)]
#[case::gemm(1)]
#[case::gemm_of_tokens(2)]
#[case::gemv(3)]
fn outputs_follow_the_epilogue_for_every_granularity(#[case] strategy: usize) {
    for (i, (n, k)) in [(1, 16), (33, 100), (17, 257)].into_iter().enumerate() {
        for layout in layouts(n, k) {
            for m in [0, 1, 7] {
                let mut rng = rng(100 * i + m);
                let (matrix, x) = (matrix(&mut rng, &layout), tokens(&mut rng, m, k));
                let biases = floats(&mut rng, n, FloatType::F32);
                // With a bias for some shapes, without for others.
                let bias = (i % 2 == 0).then_some((&biases[..], FloatType::F32));
                Case {
                    x: &x,
                    matrix: &matrix,
                    bias,
                    dtype: FloatType::F32,
                    strategy: strategies()[strategy],
                }
                .assert_rescaled();
            }
        }
    }
}

#[test]
fn half_precision_outputs_and_biases_are_rounded_once() {
    let mut rng = rng(5);
    let layout = layout(19, 200, WeightCode::Ternary, ScaleGranularity::Row);
    let (matrix, x) = (matrix(&mut rng, &layout), tokens(&mut rng, 3, 200));
    for dtype in supported([FloatType::F16, FloatType::BF16]) {
        let bias = floats(&mut rng, 19, dtype);
        for strategy in strategies() {
            Case {
                x: &x,
                matrix: &matrix,
                bias: Some((&bias, dtype)),
                dtype,
                strategy,
            }
            .assert_rescaled();
        }
    }
}

#[test]
fn a_nan_token_or_nan_weight_scale_gives_nan_outputs_and_spoils_no_other() {
    let k = 40;
    let mut x = floats(&mut rng(6), 3 * k, FloatType::F32);
    x[k] = f32::NAN;
    let x = Reference::quantize(&x, k).unwrap();
    let mut w = floats(&mut rng(7), 4 * k, FloatType::F32);
    w[2 * k] = f32::INFINITY;
    for scale in [ScaleGranularity::Row, ScaleGranularity::Group { size: 16 }] {
        let layout = layout(4, k, WeightCode::Ternary, scale);
        let matrix = tritburn_formats::quantize::quantize_weights(&w, &layout).unwrap();
        for strategy in strategies() {
            let case = Case {
                x: &x,
                matrix: &matrix,
                bias: None,
                dtype: FloatType::F32,
                strategy,
            };
            for (i, y) in case.run().iter().enumerate() {
                let spoilt = i / 4 == 1 || i % 4 == 2;
                assert_eq!(y.is_nan(), spoilt, "{strategy:?}: output {i} is {y}");
            }
        }
    }
}

#[test]
fn padding_codes_may_hold_anything() {
    for code in CODES {
        let layout = layout(3, 17, code, ScaleGranularity::Tensor);
        let clean = matrix(&mut rng(8), &layout);
        let x = tokens(&mut rng(9), 2, 17);
        let mut words = clean.words().to_vec();
        for word in words.chunks_mut(2) {
            word[1] = word[1] & 3 | 0xFFFF_FFFC;
        }
        let dirty = PackedMatrix::new(layout, words, clean.scales().to_vec()).unwrap();
        for strategy in strategies() {
            assert_eq!(
                integers(&x, &dirty, strategy),
                integers(&x, &clean, strategy)
            );
        }
    }
}

#[test]
fn the_same_operands_give_the_same_bits_twice() {
    let mut rng = rng(10);
    let layout = layout(
        33,
        640,
        WeightCode::Int2,
        ScaleGranularity::Group { size: 64 },
    );
    let (matrix, x) = (matrix(&mut rng, &layout), tokens(&mut rng, 7, 640));
    for strategy in strategies() {
        let case = Case {
            x: &x,
            matrix: &matrix,
            bias: None,
            dtype: FloatType::F32,
            strategy,
        };
        assert_bits(&case.run(), &case.run(), "second run");
    }
}
