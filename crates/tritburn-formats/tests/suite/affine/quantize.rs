//! Quantisers of float weights to groups of codes.

use rstest::rstest;
use tritburn_formats::affine::{AffineLayout, AffineMatrix, Bits, FloatType};
use tritburn_formats::quantize::affine::{
    HalfQuadratic, half_quadratic, keep_largest, round_to_nearest, weight_report,
};
use tritburn_formats::{LayoutError, MatrixError};

use super::{FLOATS, SHAPES, layouts};
use crate::common::noise;

/// About Gaussian, with a few weights ten times as large.
pub fn weights(len: usize, seed: u64) -> Vec<f32> {
    let sum = |four: &[f32]| four.iter().sum::<f32>() * 0.02;
    let outlier = |i: usize| if i % 97 == 13 { 10.0 } else { 1.0 };
    noise(4 * len, seed)
        .chunks(4)
        .enumerate()
        .map(|(i, four)| sum(four) * outlier(i))
        .collect()
}

/// Every code is the nearest that the stored scale and zero point offer.
fn assert_nearest(weights: &[f32], matrix: &AffineMatrix) {
    let layout = matrix.layout();
    let (k, codes, (scales, zeros)) = (layout.in_features(), matrix.codes(), matrix.groups());
    let max = f32::from(layout.bits().max_code());
    for (i, (&w, &code)) in weights.iter().zip(&codes).enumerate() {
        let (row, col) = (i / k, i % k);
        let dropped = layout.is_sparse() && matrix.mask()[i / 32] >> (i % 32) & 1 == 0;
        let group = row * layout.groups_per_row() + col / layout.span();
        let nearest = (w / scales[group] + zeros[group]).round_ties_even();
        let expected = if dropped {
            0.0
        } else {
            nearest.clamp(0.0, max)
        };
        assert_eq!(f32::from(code), expected, "{layout:?} at {i}");
    }
}

fn squared_error(weights: &[f32], scale: f32, zero: f32, bits: Bits) -> f64 {
    let max = f32::from(bits.max_code());
    let error = |w: &f32| {
        let code = (w / scale + zero).round_ties_even().clamp(0.0, max);
        f64::from(w - (code - zero) * scale).powi(2)
    };
    weights.iter().map(error).sum()
}

#[test]
fn codes_are_the_nearest_in_every_layout() {
    for [out, k] in SHAPES {
        let weights = weights(out * k, 31);
        for layout in layouts([out, k]).into_iter().filter(|l| !l.is_permuted()) {
            let matrix = round_to_nearest(&weights, &layout).expect("finite weights");
            assert_nearest(&weights, &matrix);
            if layout.has_zeros() {
                let zeros = matrix.zeros().expect("stored").to_f32();
                let max = f32::from(layout.bits().max_code());
                assert!(
                    zeros
                        .iter()
                        .all(|z| z.fract() == 0.0 && (0.0..=max).contains(z))
                );
                let settings = HalfQuadratic::default();
                let matrix = half_quadratic(&weights, &layout, &settings).expect("finite");
                assert_nearest(&weights, &matrix);
            }
        }
    }
}

/// No scale of a fine grid is much better, and the one that clips nothing is worse.
#[rstest]
fn the_scale_is_that_of_least_squared_error(
    #[values(Bits::Two, Bits::Three, Bits::Four)] bits: Bits,
    #[values(false, true)] zeros: bool,
) {
    let layout = AffineLayout::new([8, 128], bits, None).expect("valid");
    let layout = layout.with_floats(FloatType::F32);
    let layout = if zeros { layout.with_zeros() } else { layout };
    let weights = weights(8 * 128, 41);
    let matrix = round_to_nearest(&weights, &layout).expect("finite weights");
    let (scales, stored_zeros) = matrix.groups();
    let max = f32::from(bits.max_code());
    for (row, weights) in weights.chunks(128).enumerate() {
        let found = squared_error(weights, scales[row], stored_zeros[row], bits);
        let largest = weights.iter().fold(0.0f32, |m, w| m.max(w.abs()));
        let candidates = if zeros {
            (0..=bits.max_code()).collect()
        } else {
            vec![bits.midpoint()]
        };
        let best = candidates
            .into_iter()
            .flat_map(|zero| (1..=400).map(move |i| (zero, i as f32 / 200.0)))
            .map(|(zero, f)| squared_error(weights, f * largest / max, f32::from(zero), bits))
            .fold(f64::INFINITY, f64::min);
        assert!(found <= 1.03 * best, "row {row}: {found} instead of {best}");
        if !zeros {
            let unclipped = largest / (max - f32::from(bits.midpoint()));
            let error = squared_error(weights, unclipped, f32::from(bits.midpoint()), bits);
            assert!(found < error, "row {row}");
        }
    }
}

#[test]
fn weights_on_a_grid_are_found_exactly() {
    for bits in Bits::ALL {
        let max = i32::from(bits.max_code());
        for zero in 0..=max {
            let levels: Vec<f32> = (0..64)
                .map(|i| (i % (max + 1) - zero) as f32 * 0.5)
                .collect();
            let layout = AffineLayout::new([1, 64], bits, Some(32)).expect("valid");
            for float in FLOATS {
                let layout = layout.clone().with_zeros().with_floats(float);
                let matrix = round_to_nearest(&levels, &layout).expect("finite");
                assert_eq!(matrix.dequantize(), levels, "{bits:?} zero {zero} {float}");
            }
        }
    }
}

/// The formula as its source writes it, for one group in f64: mean |r| of the first iteration and of
/// the best.
fn hqq(w: &[f32], bits: Bits) -> [f64; 2] {
    let max = f64::from(bits.max_code());
    let w: Vec<f64> = w.iter().map(|&w| f64::from(w)).collect();
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
    let low = w.iter().copied().fold(f64::INFINITY, f64::min);
    let high = w.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let inverse = max / (high - low);
    let (mut zero, mut beta, mut errors) = (-low * inverse, 10.0f64, vec![]);
    for _ in 0..20 {
        let code = |w: &f64| (w * inverse + zero).round_ties_even().clamp(0.0, max);
        let rest = |w: &f64| w - (code(w) - zero) / inverse;
        errors.push(mean(w.iter().map(|w| rest(w).abs()).collect()));
        if errors.len() > 1 && errors[errors.len() - 1] >= errors[errors.len() - 2] {
            break;
        }
        let shrunk = |r: f64| r.signum() * (r.abs() - r.abs().powf(0.7 - 1.0) / beta).max(0.0);
        let moved = w.iter().map(|w| code(w) - (w - shrunk(rest(w))) * inverse);
        zero = mean(moved.collect());
        beta *= 1.01;
    }
    [
        errors[0],
        errors.iter().copied().fold(f64::INFINITY, f64::min),
    ]
}

#[rstest]
fn half_quadratic_zero_points_are_those_of_the_source(
    #[values(Bits::Two, Bits::Three, Bits::Four)] bits: Bits,
    #[values(1.0, 40.0)] size: f32,
) {
    let layout = AffineLayout::new([24, 192], bits, Some(64)).expect("valid");
    let layout = layout.with_zeros().with_floats(FloatType::F32);
    let weights: Vec<f32> = weights(24 * 192, 51).iter().map(|w| w * size).collect();
    let settings = HalfQuadratic::default();
    let matrix = half_quadratic(&weights, &layout, &settings).expect("finite");
    let quantised = matrix.dequantize();
    let (mut first, mut total, mut source, mut others) = (0.0, 0.0, 0.0, 0);
    for (w, q) in weights.chunks(64).zip(quantised.chunks(64)) {
        let difference = |(w, q): (&f32, &f32)| f64::from((w - q).abs());
        let found = w.iter().zip(q).map(difference).sum::<f64>() / 64.0;
        let [start, best] = hqq(w, bits);
        others += usize::from((found - best).abs() > 1e-4 * best);
        first += start;
        total += found;
        source += best;
    }
    // A code on a tie may fall to the other side in f32, and the search end elsewhere.
    assert!(others <= 7, "{others} of 72 groups differ");
    assert!((total - source).abs() <= 0.01 * source, "{total} {source}");
    assert!(total < 0.97 * first, "{total} {first}");
}

#[test]
fn what_a_search_gains_is_what_the_report_says() {
    let layout = AffineLayout::new([16, 512], Bits::Four, Some(64)).expect("valid");
    let weights = weights(16 * 512, 61);
    let error = |matrix: &AffineMatrix| weight_report(&weights, matrix).unwrap().relative_error;
    let symmetric = error(&round_to_nearest(&weights, &layout).unwrap());
    let zeros = layout.clone().with_zeros();
    let asymmetric = error(&round_to_nearest(&weights, &zeros).unwrap());
    let settings = HalfQuadratic::default();
    let searched = error(&half_quadratic(&weights, &zeros, &settings).unwrap());
    let sparse = error(&round_to_nearest(&weights, &layout.sparse().unwrap()).unwrap());
    assert!(
        asymmetric < symmetric && symmetric < 0.25,
        "{asymmetric} {symmetric}"
    );
    assert!(searched < 0.2, "{searched}");
    assert!(sparse > symmetric && sparse < 0.5, "{sparse}");

    let matrix = round_to_nearest(&weights, &zeros).unwrap();
    let report = weight_report(&weights, &matrix).unwrap();
    let difference = |(w, q): (&f32, f32)| f64::from(*w) - f64::from(q);
    let differences: Vec<f64> = weights
        .iter()
        .zip(matrix.dequantize())
        .map(difference)
        .collect();
    let norm = |v: &[f64]| v.iter().map(|d| d * d).sum::<f64>().sqrt();
    let size: Vec<f64> = weights.iter().map(|&w| f64::from(w)).collect();
    let expected = norm(&differences) / norm(&size);
    assert!((report.relative_error - expected).abs() < 1e-9);
    let largest = differences.iter().fold(0.0f64, |m, d| m.max(d.abs()));
    assert_eq!(report.largest_error, largest as f32);
    assert_eq!(report.bits_per_weight, 4.0 + 32.0 / 64.0);
    assert!(weight_report(&weights[1..], &matrix).is_err());
}

#[test]
fn the_largest_16_of_32_are_kept() {
    let weights = weights(3 * 64, 71);
    let masks = keep_largest(&weights, 64).expect("whole units");
    assert_eq!(masks.len(), 6);
    for (weights, mask) in weights.chunks(32).zip(masks) {
        assert_eq!(mask.count_ones(), 16);
        let size = |kept: u32| {
            let of = (0..32).filter(move |l| mask >> l & 1 == kept);
            of.map(|l| weights[l].abs())
        };
        let smallest_kept = size(1).fold(f32::INFINITY, f32::min);
        assert!(size(0).all(|dropped| dropped <= smallest_kept));
    }
    assert_eq!(keep_largest(&[0.5; 32], 32), Ok(vec![0xffff]));
    assert!(matches!(
        keep_largest(&[0.5; 40], 40),
        Err(MatrixError::Layout(LayoutError::Sparse {
            in_features: 40,
            ..
        }))
    ));
    assert!(keep_largest(&[0.5; 33], 32).is_err());
}

#[test]
fn weights_that_cannot_be_quantised_are_named() {
    let layout = AffineLayout::new([2, 40], Bits::Three, Some(16))
        .expect("valid")
        .with_zeros();
    let settings = HalfQuadratic::default();
    let both = |weights: &[f32], layout: &AffineLayout| {
        let rounded = round_to_nearest(weights, layout);
        assert_eq!(
            half_quadratic(weights, layout, &settings).err(),
            rounded.as_ref().err().cloned()
        );
        rounded.expect_err("bad weights")
    };
    let mut weights = weights(80, 1);
    weights[63] = f32::INFINITY;
    let (row, col, value) = (1, 23, f32::INFINITY);
    assert_eq!(
        both(&weights, &layout),
        MatrixError::NonFinite { row, col, value }
    );
    weights[63] = 1e6;
    assert_eq!(
        both(&weights, &layout),
        MatrixError::ScaleOverflow { index: 4 }
    );
    let wide = layout.clone().with_floats(FloatType::Bf16);
    assert!(round_to_nearest(&weights, &wide).is_ok());
    assert!(matches!(
        both(&weights[1..], &wide),
        MatrixError::Length {
            what: "weights",
            found: 79,
            expected: 80
        }
    ));
    let what = "column orders";
    assert_eq!(
        both(&weights, &wide.with_order()),
        MatrixError::Missing { what }
    );
    let plain = AffineLayout::new([2, 40], Bits::Three, None).expect("valid");
    let method = "half-quadratic quantisation";
    assert_eq!(
        half_quadratic(&weights, &plain, &settings),
        Err(LayoutError::NoZeros { method }.into())
    );
}

#[test]
fn groups_of_equal_tiny_and_huge_weights_keep_usable_scales() {
    for float in FLOATS {
        for value in [0.0, 1.0, -3.0, 1e-30, 3e4, -3e4] {
            for zeros in [false, true] {
                let layout = AffineLayout::new([1, 32], Bits::Four, Some(16)).expect("valid");
                let layout = layout.with_floats(float);
                let layout = if zeros { layout.with_zeros() } else { layout };
                let matrices = [
                    Some(round_to_nearest(&[value; 32], &layout).expect("finite")),
                    half_quadratic(&[value; 32], &layout, &HalfQuadratic::default()).ok(),
                ];
                for matrix in matrices.into_iter().flatten() {
                    for w in matrix.dequantize() {
                        let tiny = if float == FloatType::F16 { 1e-7 } else { 0.0 };
                        let error = (w - value).abs();
                        assert!(error <= 0.004 * value.abs() + tiny, "{float} {value}: {w}");
                    }
                }
            }
        }
    }
}
