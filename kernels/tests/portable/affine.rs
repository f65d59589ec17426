//! Products with codes of 2, 3 and 4 bits in groups, against sums in f64.

use rand::RngExt;
use rand::rngs::StdRng;
use rstest::rstest;
use tritburn_formats::affine::{
    AffineLayout, AffineMatrix, AffineParts, Bits, FloatType as StoredType, Floats,
    pack_affine_codes,
};
use tritburn_kernels::product::portable::gemm::GemmBlueprint;
use tritburn_kernels::product::portable::gemv::GemvBlueprint;
use tritburn_kernels::product::{self, Plan, Strategy};
use tritburn_kernels::{
    AffineBuffers, AffineWeights, FloatType, FloatVector, IntegerDot, KernelError, UnitTile,
};

use crate::device::{client, runs, supported};
use crate::harness::*;
use crate::reference;

/// Lanes that share a row, more rows and tokens than a small product has, and vectors of 8.
const FORCED: Strategy = Strategy::Forced(Plan::Gemv(GemvBlueprint {
    tile: UnitTile { rows: 3, tokens: 2 },
    lanes: 2,
    groups: 1,
    dot: IntegerDot::Dp4a,
    vector: 8,
}));

/// A matrix of random parts, its padding scribbled on.
fn random(rng: &mut StdRng, layout: AffineLayout) -> AffineMatrix {
    let codes: Vec<u8> = (0..layout.weight_count())
        .map(|_| rng.random_range(0..=layout.bits().max_code()))
        .collect();
    let mask: Vec<u32> = (0..layout.mask_count()).map(|_| mask(rng)).collect();
    let mut words = pack_affine_codes(&codes, &mask, &layout).unwrap();
    let used = layout.in_features() % 32 * layout.bits().count();
    if used > 0 {
        for row in words.chunks_mut(layout.words_per_row()) {
            let unit = row.len() - layout.words_per_unit();
            for bit in used..32 * layout.words_per_unit() {
                row[unit + bit / 32] |= rng.random_range(0u32..2) << (bit % 32);
            }
        }
    }
    let groups = layout.group_count();
    let scales = (0..groups).map(|_| rng.random_range(0.01f32..1.0) * [1.0, -1.0][groups % 2]);
    let scales = Floats::from_f32(&scales.collect::<Vec<_>>(), layout.floats());
    let zeros: Vec<f32> = (0..groups)
        .map(|_| rng.random_range(-3.0f32..18.0))
        .collect();
    let mut order: Vec<u32> = (0..layout.in_features() as u32).collect();
    for i in (1..order.len()).rev() {
        order.swap(i, rng.random_range(0..=i));
    }
    AffineMatrix::new(AffineParts {
        words,
        mask,
        scales,
        zeros: (layout.has_zeros()).then(|| Floats::from_f32(&zeros, layout.floats())),
        order: layout.is_permuted().then_some(order),
        layout,
    })
    .unwrap()
}

/// 16 of 32 bits; sometimes those of one half.
fn mask(rng: &mut StdRng) -> u32 {
    match rng.random_range(0..8) {
        0 => 0xffff,
        1 => 0xffff_0000,
        _ => {
            let mut mask = 0u32;
            while mask.count_ones() < 16 {
                mask |= 1 << rng.random_range(0..32);
            }
            mask
        }
    }
}

fn upload_floats(floats: &Floats) -> FloatVector {
    let dtype = match floats.float_type() {
        StoredType::F32 => FloatType::F32,
        StoredType::F16 => FloatType::F16,
        StoredType::Bf16 => FloatType::BF16,
    };
    float_vector(&client(), &floats.to_f32(), dtype)
}

fn buffers(matrix: &AffineMatrix) -> AffineBuffers {
    let client = client();
    AffineBuffers {
        words: words(&client, matrix.words()),
        mask: (!matrix.mask().is_empty()).then(|| words(&client, matrix.mask())),
        scales: upload_floats(matrix.scales()),
        zeros: matrix.zeros().map(upload_floats),
        order: matrix.order().map(|order| words(&client, order)),
    }
}

struct Case<'a> {
    x: &'a [f32],
    m: usize,
    stride: usize,
    dtype: FloatType,
    matrix: &'a AffineMatrix,
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
        let weights = AffineWeights::new(layout.clone(), buffers(self.matrix)).unwrap();
        let y = &out.matrix;
        product::affine(&client, &x, &weights, bias.as_ref(), y, self.strategy).unwrap();
        out.read(&client)
    }

    fn assert_close(&self) {
        let layout = self.matrix.layout();
        let w = self.matrix.dequantize();
        let k = layout.in_features();
        let (expected, bounds) = reference::linear(self.x, &w, self.bias, k, self.dtype);
        let what = format!("{} tokens, {layout:?} {:?}", self.m, self.strategy);
        let found = self.run();
        assert_within(&found, &expected, &bounds, &what);
        assert_bits(&self.run(), &found, &what);
    }
}

fn affine(n: usize, k: usize, bits: Bits, group: Option<usize>) -> AffineLayout {
    let layout = AffineLayout::new([n, k], bits, group).unwrap();
    layout.with_floats(StoredType::F32)
}

fn assert_close(seed: usize, m: usize, layout: AffineLayout, strategy: Strategy) {
    let mut rng = rng(seed);
    let k = layout.in_features();
    let matrix = random(&mut rng, layout);
    Case {
        x: &floats(&mut rng, m * k, FloatType::F32),
        m,
        // One token is loaded 16 bytes at once where whole halves of units make up a row.
        stride: k + 5,
        dtype: FloatType::F32,
        matrix: &matrix,
        bias: None,
        strategy,
    }
    .assert_close();
}

#[rstest]
fn outputs_are_close_to_f64_sums_for_every_shape_and_group(
    #[values(Bits::Two, Bits::Three, Bits::Four)] bits: Bits,
    #[values(false, true)] zeros: bool,
) {
    for (i, (n, k)) in WEIGHT_SHAPES.into_iter().enumerate() {
        for (j, group) in [None, Some(16), Some(48), Some(128)]
            .into_iter()
            .enumerate()
        {
            let mut layout = affine(n, k, bits, group);
            if zeros {
                layout = layout.with_zeros();
            }
            for (m, strategy) in [(1, Strategy::Auto), (7, Strategy::Auto), (5, FORCED)] {
                assert_close(100 * i + 10 * j + m, m, layout.clone(), strategy);
            }
        }
    }
}

#[rstest]
fn dropped_weights_count_for_nothing(#[values(false, true)] zeros: bool) {
    for (n, k) in [(1, 32), (3, 64), (17, 256), (33, 640)] {
        for group in [None, Some(32), Some(96)] {
            let mut layout = affine(n, k, Bits::Four, group).sparse().unwrap();
            if zeros {
                layout = layout.with_zeros();
            }
            for (m, strategy) in [(1, Strategy::Auto), (7, Strategy::Auto), (5, FORCED)] {
                assert_close(k + m, m, layout.clone(), strategy);
            }
        }
    }
}

#[test]
fn columns_in_another_order_multiply_their_inputs() {
    for (n, k) in [(3, 15), (33, 17), (17, 256)] {
        for bits in Bits::ALL {
            let layout = affine(n, k, bits, Some(16)).with_zeros().with_order();
            assert_close(k, 5, layout, Strategy::Auto);
        }
    }
}

#[test]
fn every_float_type_of_inputs_and_scales_and_a_bias() {
    for dtype in supported(FLOATS) {
        let stored = [
            (StoredType::F16, FloatType::F16),
            (StoredType::Bf16, FloatType::BF16),
        ];
        for (stored, _) in stored.into_iter().filter(|&(_, dtype)| runs(dtype)) {
            // 64 inputs with a stride of 72 load 16 bytes at once; a stride of 67 does not.
            for stride in [64, 67, 72] {
                let mut rng = rng(stride);
                let layout = affine(21, 64, Bits::Three, Some(16)).with_zeros();
                let matrix = random(&mut rng, layout.with_floats(stored));
                Case {
                    x: &floats(&mut rng, 5 * 64, dtype),
                    m: 5,
                    stride,
                    dtype,
                    matrix: &matrix,
                    bias: Some(&floats(&mut rng, 21, FloatType::F32)),
                    strategy: Strategy::Auto,
                }
                .assert_close();
            }
        }
    }
}

#[test]
fn a_nan_input_gives_a_nan_row_and_spoils_no_other() {
    let layout = affine(3, 20, Bits::Four, Some(16)).with_order();
    let matrix = random(&mut rng(1), layout);
    let mut x = floats(&mut rng(2), 3 * 20, FloatType::F32);
    x[20 + 19] = f32::NAN;
    let case = Case {
        x: &x,
        m: 3,
        stride: 20,
        dtype: FloatType::F32,
        matrix: &matrix,
        bias: None,
        strategy: Strategy::Auto,
    };
    for (i, y) in case.run().iter().enumerate() {
        assert_eq!(y.is_nan(), i / 3 == 1, "output {i} is {y}");
    }
    let none = Case {
        x: &[],
        m: 0,
        ..case
    };
    assert!(none.run().is_empty());
}

#[test]
fn operands_that_do_not_fit_are_refused_with_their_sizes() {
    let client = client();
    let sparse = affine(2, 64, Bits::Four, Some(32))
        .with_zeros()
        .sparse()
        .unwrap();
    let matrix = random(&mut rng(1), sparse.with_order());
    let layout = matrix.layout().clone();
    let whole = buffers(&matrix);
    let refused = |buffers: AffineBuffers| AffineWeights::new(layout.clone(), buffers).unwrap_err();
    let length = |operand, expected, found| KernelError::Length {
        operand,
        expected,
        found,
    };
    let few = words(&client, &[0; 3]);
    for (buffers, error) in [
        (
            AffineBuffers {
                words: few.clone(),
                ..whole.clone()
            },
            length("affine words", 8, 3),
        ),
        (
            AffineBuffers {
                mask: None,
                ..whole.clone()
            },
            length("mask", 4, 0),
        ),
        (
            AffineBuffers {
                order: Some(few),
                ..whole.clone()
            },
            length("column order", 64, 3),
        ),
        (
            AffineBuffers {
                zeros: None,
                ..whole.clone()
            },
            length("zero points", 4, 0),
        ),
        (
            AffineBuffers {
                scales: float_vector(&client, &[1.0; 4], FloatType::F16),
                ..whole.clone()
            },
            KernelError::FloatType {
                operand: "group scales",
                expected: FloatType::F32,
                found: FloatType::F16,
            },
        ),
    ] {
        assert_eq!(refused(buffers), error);
    }
    let weights = AffineWeights::new(layout, whole).unwrap();
    let x = float_matrix(&client, &[0.0; 63], [1, 63], 63, FloatType::F32);
    let y = Out::new(&client, [1, 2], 2, FloatType::F32).matrix;
    let shape = KernelError::Shape {
        operand: "x",
        expected: [1, 64],
        found: [1, 63],
    };
    let run = |strategy, x| product::affine(&client, x, &weights, None, &y, strategy);
    assert_eq!(run(Strategy::Auto, &x), Err(shape));
    let gemm = Strategy::Forced(Plan::Gemm(GemmBlueprint {
        tile: UnitTile { rows: 1, tokens: 1 },
        units_n: 1,
        units_m: 1,
        dot: IntegerDot::Wide,
        lanes: 4,
    }));
    let x = float_matrix(&client, &[0.0; 64], [1, 64], 64, FloatType::F32);
    assert!(matches!(run(gemm, &x), Err(KernelError::Plan { .. })));
}
