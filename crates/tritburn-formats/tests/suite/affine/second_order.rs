//! GPTQ's quantiser against rounding, and against its own formula.

use tritburn_formats::affine::{AffineLayout, AffineMatrix, Bits, FloatType};
use tritburn_formats::quantize::affine::{
    InputMoments, SecondOrder, round_to_nearest, second_order,
};
use tritburn_formats::{MatrixError, reference};

use super::quantize::weights;
use crate::common::noise;

/// Activations `[tokens, k]` of a few directions, some inputs much larger than others.
fn activations(tokens: usize, k: usize, seed: u64) -> Vec<f32> {
    let (mix, hidden) = (noise(8 * k, seed), noise(8 * tokens, seed ^ 1));
    let own = noise(tokens * k, seed ^ 2);
    (0..tokens * k)
        .map(|at| {
            let (token, input) = (at / k, at % k);
            let shared: f32 = (0..8)
                .map(|d| hidden[8 * token + d] * mix[8 * input + d])
                .sum();
            (shared + 0.1 * own[at]) * if input % 19 == 3 { 6.0 } else { 1.0 }
        })
        .collect()
}

fn moments(x: &[f32], k: usize) -> InputMoments {
    let mut moments = InputMoments::new(k).expect("inputs");
    let (first, second) = x.split_at(x.len() / k / 3 * k);
    moments.add(first).expect("whole tokens");
    moments.add(second).expect("whole tokens");
    moments
}

fn output_error(x: &[f32], weights: &[f32], matrix: &AffineMatrix) -> f64 {
    let k = matrix.layout().in_features();
    let y = reference::matmul_affine(x, matrix, None);
    let out = matrix.layout().out_features();
    let errors = y.iter().enumerate().map(|(i, &y)| {
        let (x, w) = (&x[i / out * k..][..k], &weights[i % out * k..][..k]);
        let exact: f64 = x
            .iter()
            .zip(w)
            .map(|(&x, &w)| f64::from(x) * f64::from(w))
            .sum();
        (f64::from(y) - exact).powi(2)
    });
    errors.sum::<f64>().sqrt()
}

#[test]
fn outputs_are_nearer_than_those_of_rounding() {
    let (out, k) = (20, 160);
    let (weights, x) = (weights(out * k, 5), activations(600, k, 6));
    let moments = moments(&x, k);
    for bits in Bits::ALL {
        let layout = AffineLayout::new([out, k], bits, Some(48))
            .expect("valid")
            .with_zeros();
        let rounded = round_to_nearest(&weights, &layout).expect("finite");
        let settings = SecondOrder::default();
        let plain = second_order(&weights, &layout, &moments, &settings).expect("finite");
        let ordered = layout.with_order();
        let ordered = second_order(&weights, &ordered, &moments, &settings).expect("finite");
        let error = |matrix: &AffineMatrix| output_error(&x, &weights, matrix);
        let (rounded, plain) = (error(&rounded), error(&plain));
        assert!(plain < 0.6 * rounded, "{bits:?}: {plain} {rounded}");
        assert!(error(&ordered) < 0.6 * rounded, "{bits:?}");
        assert_eq!(
            ordered.order().expect("an order")[..1],
            [largest(&moments_of(&x, k))]
        );
    }
}

/// Diagonal of `Xᵀ X`.
fn moments_of(x: &[f32], k: usize) -> Vec<f64> {
    let of = |i| x.chunks(k).map(|x| f64::from(x[i]).powi(2)).sum();
    (0..k).map(of).collect()
}

fn largest(moments: &[f64]) -> u32 {
    let at = (0..moments.len()).max_by(|&a, &b| moments[a].total_cmp(&moments[b]));
    at.expect("some") as u32
}

/// Two inputs: the error of the first moves the second by `-error · h01 / h11`, which is what
/// minimises `eᵀ H e` over it.
#[test]
fn the_error_of_a_column_moves_the_next_one() {
    let layout = AffineLayout::new([1, 17], Bits::Four, Some(16)).expect("valid");
    let layout = layout.with_floats(FloatType::F32);
    // Inputs 15 and 16 go together; the others never occur.
    let mut x = vec![0.0; 2 * 17];
    (x[15], x[16], x[17 + 16]) = (1.0, 0.5, 1.0);
    let moments = moments(&x, 17);
    let mut weights = vec![0.0; 17];
    (weights[0], weights[15], weights[16]) = (7.0, 3.3, 2.0);
    let settings = SecondOrder { damping: 1e-9 };
    let matrix = second_order(&weights, &layout, &moments, &settings).expect("finite");
    let first = matrix.dequantize()[15];
    let error = f64::from(weights[15]) - f64::from(first);
    assert!(error.abs() > 0.02, "{first}");
    // The second is alone in its group: its scale makes it exact.
    let moved = 2.0 + error * 0.5 / 1.25;
    let second = f64::from(matrix.dequantize()[16]);
    assert!((second - moved).abs() < 1e-5, "{second} instead of {moved}");
}

#[test]
fn without_correlations_it_rounds() {
    let (out, k) = (7, 64);
    let weights = weights(out * k, 9);
    let mut x = vec![0.0; k * k];
    for i in 0..k {
        x[i * k + i] = 2.0;
    }
    for bits in Bits::ALL {
        let layout = AffineLayout::new([out, k], bits, Some(32)).expect("valid");
        let found = second_order(&weights, &layout, &moments(&x, k), &SecondOrder::default());
        assert_eq!(found, round_to_nearest(&weights, &layout));
    }
    // Nor without activations.
    let none = InputMoments::new(k).expect("inputs");
    let layout = AffineLayout::new([out, k], Bits::Four, None).expect("valid");
    let found = second_order(&weights, &layout, &none, &SecondOrder::default());
    assert_eq!(found, round_to_nearest(&weights, &layout));
}

#[test]
fn wrong_operands_are_refused() {
    let layout = AffineLayout::new([2, 64], Bits::Four, None).expect("valid");
    let weights = weights(128, 1);
    let settings = SecondOrder::default();
    let short = InputMoments::new(32).expect("inputs");
    assert!(matches!(
        second_order(&weights, &layout, &short, &settings),
        Err(MatrixError::Length {
            found: 32,
            expected: 64,
            ..
        })
    ));
    let mut moments = InputMoments::new(64).expect("inputs");
    assert!(moments.add(&[1.0; 65]).is_err());
    let mut x = [1.0; 128];
    x[70] = f32::NAN;
    assert!(matches!(
        moments.add(&x),
        Err(MatrixError::NonFinite { row: 1, col: 6, .. })
    ));
    let sparse = layout.clone().sparse().expect("whole units");
    let what = "masks";
    assert_eq!(
        second_order(&weights, &sparse, &moments, &settings),
        Err(MatrixError::Unexpected { what })
    );
    moments.add(&[1.0; 256]).expect("whole tokens");
    let singular = SecondOrder { damping: 0.0 };
    assert!(matches!(
        second_order(&weights, &layout, &moments, &singular),
        Err(MatrixError::Moments { .. })
    ));
    assert!(InputMoments::new(0).is_err());
}
