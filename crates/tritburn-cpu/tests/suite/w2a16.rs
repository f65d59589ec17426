//! Float products on every instruction set of the machine against a sum in f64.

use proptest::prelude::*;
use tritburn_cpu::internals::*;
use tritburn_cpu::*;
use tritburn_formats::{PackedLayout, PackedMatrix, ScaleGranularity, WeightCode, reference};

use crate::common::*;

/// Each output may be off by what f32 sums of K terms lose, as a share of the sum of the sizes of
/// the terms.
fn check(x: &[f32], matrix: &PackedMatrix, rng: &mut Random) {
    let layout = matrix.layout();
    let (n, k) = (layout.out_features(), layout.in_features());
    let m = x.len() / k;
    let w = WeightView::of(matrix);
    let bias = rng.floats(n);
    let weights = matrix.dequantize();
    let expected = reference::matmul_w2a16(x, matrix, Some(&bias));
    for isa in Isa::available() {
        let mut y = vec![f32::NAN; m * n];
        matmul_w2a16_with(isa, x, w, Some(&bias), &mut y).unwrap();
        for (i, (&y, &expected)) in y.iter().zip(&expected).enumerate() {
            let (x, weights) = (&x[i / n * k..][..k], &weights[i % n * k..][..k]);
            let size: f32 = x.iter().zip(weights).map(|(x, w)| (x * w).abs()).sum();
            let tolerance = (size + bias[i % n].abs()) * 2e-6;
            assert!(
                (y - expected).abs() <= tolerance,
                "{isa} [{m}, {k}] x {layout:?} at {i}: {y} instead of {expected}"
            );
        }
        let mut again = vec![f32::NAN; m * n];
        matmul_w2a16_with(isa, x, w, Some(&bias), &mut again).unwrap();
        assert_eq!(y, again, "{isa}");
        // Without a bias nothing but the bias changes.
        matmul_w2a16_with(isa, x, w, None, &mut again).unwrap();
        for (i, (y, plain)) in y.iter().zip(&again).enumerate() {
            assert_eq!(*y, plain + bias[i % n], "{isa}");
        }
    }
}

fn check_random(m: usize, n: usize, k: usize, code: WeightCode, scale: ScaleGranularity) {
    let (mut rng, matrix) = random_weights([m, n, k], code, scale);
    let x = rng.floats(m * k);
    check(&x, &matrix, &mut rng);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_shapes_agree_with_the_reference(
        m in 1usize..=20,
        n in 1usize..=40,
        k in 1usize..=600,
        code in 0usize..2,
        scale in any::<prop::sample::Index>(),
    ) {
        check_random(m, n, k, CODES[code], scale.get(&granularities(n)).clone());
    }
}

#[test]
fn every_number_of_inputs_up_to_300_agrees_with_the_reference() {
    for k in 1..=300 {
        check_random(2, 5, k, CODES[k % 2], ScaleGranularity::Row);
    }
}

#[test]
fn matrices_of_many_tasks_agree_with_the_reference() {
    check_random(1, 301, 6912, WeightCode::Ternary, ScaleGranularity::Tensor);
    check_random(33, 270, 700, WeightCode::Int2, ScaleGranularity::Row);
    check_random(
        9,
        270,
        700,
        WeightCode::Int2,
        ScaleGranularity::Group { size: 128 },
    );
}

#[test]
fn small_integers_are_exact() {
    // All partial sums are integers below 2^24, so the order of the sum cannot matter.
    let mut rng = Random(9);
    let (m, n, k) = (7, 11, 500);
    for code in CODES {
        let layout = PackedLayout::new(n, k, code, ScaleGranularity::Tensor).unwrap();
        let matrix = random_matrix(&mut rng, layout.clone());
        let matrix = PackedMatrix::new(layout, matrix.words().to_vec(), vec![1.0]).unwrap();
        let x: Vec<f32> = (0..m * k).map(|_| rng.below(201) as f32 - 100.0).collect();
        let expected = reference::matmul_w2a16(&x, &matrix, None);
        for isa in Isa::available() {
            let mut y = vec![f32::NAN; m * n];
            matmul_w2a16_with(isa, &x, WeightView::of(&matrix), None, &mut y).unwrap();
            assert_eq!(y, expected, "{isa}");
        }
    }
}

#[test]
fn a_nan_input_stays_in_its_row_and_no_tokens_give_no_outputs() {
    let mut rng = Random(10);
    let layout = PackedLayout::new(6, 50, WeightCode::Ternary, ScaleGranularity::Row).unwrap();
    let matrix = random_matrix(&mut rng, layout);
    let w = WeightView::of(&matrix);
    let mut x = rng.floats(9 * 50);
    x[4 * 50 + 49] = f32::NAN;
    for isa in Isa::available() {
        let mut y = vec![0.0; 9 * 6];
        matmul_w2a16_with(isa, &x, w, None, &mut y).unwrap();
        assert_nan_row(&y, 6, 4, isa);
        assert_eq!(matmul_w2a16_with(isa, &[], w, None, &mut []), Ok(()));
    }
}
