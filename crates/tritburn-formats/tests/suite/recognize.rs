//! Float weights that are ternary already.

use proptest::prelude::*;
use tritburn_formats::ScaleGranularity::{Group, Row, Segments, Tensor};
use tritburn_formats::quantize::recognize_ternary;
use tritburn_formats::{PackedMatrix, ScaleGranularity};

use crate::common::arbitrary::{same, ternary};
use crate::common::noise;

/// Scales that all differ.
fn distinct(index: usize) -> f32 {
    0.5 + index as f32 / 1024.0
}

fn found(weights: &[f32], out: usize, k: usize) -> (ScaleGranularity, Vec<f32>) {
    let matrix = recognize_ternary(weights, out, k).expect("ternary");
    assert_eq!(matrix.dequantize(), weights);
    (matrix.layout().scale().clone(), matrix.scales().to_vec())
}

#[test]
fn the_coarsest_granularity_that_holds() {
    let group = |size| Group { size };
    for (out, k, scale) in [
        (2, 3, Tensor),
        (5, 7, Tensor),
        (33, 129, Tensor),
        (
            9,
            64,
            Segments {
                rows: vec![4, 3, 2],
            },
        ),
        (8, 32, Segments { rows: vec![1; 8] }),
        (9, 32, Row),
        (9, 33, Row),
        (20, 100, Row),
        (2, 40, group(32)),
        (2, 64, group(32)),
        (3, 100, group(64)),
        (2, 300, group(128)),
        (2, 512, group(256)),
        (2, 1030, group(512)),
        (2, 2048, group(1024)),
        (2, 2047, group(1024)),
    ] {
        let original = ternary(out, k, scale, 11, distinct);
        let result = recognize_ternary(&original.dequantize(), out, k);
        let result = result.expect("ternary");
        assert!(
            same(&result, &original),
            "[{out}, {k}] {:?}",
            result.layout().scale()
        );
    }
}

#[test]
fn groups_of_any_size_are_found_as_smaller_ones() {
    // 96 is no size of ours, 32 divides it.
    let original = ternary(2, 192, Group { size: 96 }, 5, distinct);
    let result = recognize_ternary(&original.dequantize(), 2, 192).expect("ternary");
    assert_eq!(Ok(result), original.refine(&Group { size: 32 }));
    let original = ternary(2, 192, Group { size: 16 }, 5, distinct);
    assert_eq!(recognize_ternary(&original.dequantize(), 2, 192), None);
}

#[test]
fn zeros_take_the_scale_of_their_neighbour() {
    assert_eq!(found(&[0.0; 12], 3, 4), (Tensor, vec![1.0]));
    assert_eq!(found(&[0.0, -0.0, 0.25, -0.25], 2, 2), (Tensor, vec![0.25]));
    let rows =
        |scales: &[f32]| -> Vec<f32> { scales.iter().flat_map(|&s| [s, -s].repeat(32)).collect() };
    let (scale, scales) = found(&rows(&[0.0, 0.5, 0.0, 0.0, 2.0, 0.0]), 6, 64);
    assert_eq!(scale, Segments { rows: vec![4, 2] });
    assert_eq!(scales, [0.5, 2.0]);
    let many: Vec<f32> = (0..12)
        .map(|i| if i % 4 == 0 { 0.0 } else { distinct(i) })
        .collect();
    let (scale, scales) = found(&rows(&many), 12, 64);
    assert_eq!(scale, Row);
    let before = |i: usize| {
        distinct(if i == 0 {
            1
        } else {
            i - usize::from(i.is_multiple_of(4))
        })
    };
    assert_eq!(scales, (0..12).map(before).collect::<Vec<_>>());
    let group = |scales: &[f32]| -> Vec<f32> { scales.iter().flat_map(|&s| [s; 32]).collect() };
    let (scale, scales) = found(&group(&[0.0, 3.0, 0.0, 0.5]), 1, 128);
    assert_eq!((scale, scales), (Group { size: 64 }, vec![3.0, 0.5]));
    let (scale, scales) = found(&group(&[3.0, 0.5, 0.0, 0.0, 0.0, 0.25]), 2, 96);
    assert_eq!(scale, Group { size: 32 });
    assert_eq!(scales, [3.0, 0.5, 0.5, 0.5, 0.5, 0.25]);
}

#[test]
fn one_weight_that_does_not_fit_is_enough() {
    let original = ternary(40, 100, Tensor, 3, |_| 0.1);
    let good = original.dequantize();
    let next = f32::from_bits(0.1f32.to_bits() + 1);
    for at in [0, 5, 99, 100, 1999, 3999] {
        for wrong in [
            next,
            -next,
            1e-45,
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
        ] {
            let mut weights = good.clone();
            // Its neighbour is γ, so that no zeros are left alone.
            weights[at ^ 1] = 0.1;
            weights[at] = wrong;
            assert_eq!(recognize_ternary(&weights, 40, 100), None, "{at} {wrong}");
        }
    }
    for bad in [f32::NAN, f32::INFINITY] {
        assert_eq!(recognize_ternary(&[bad; 64], 2, 32), None);
    }
    assert_eq!(recognize_ternary(&noise(64 * 64, 1), 64, 64), None);
}

#[test]
fn the_smallest_and_largest_scales_hold() {
    for gamma in [f32::from_bits(1), f32::MIN_POSITIVE, f32::MAX] {
        let weights = [gamma, -gamma, 0.0, gamma];
        let matrix = recognize_ternary(&weights, 2, 2).expect("ternary");
        assert_eq!(
            (matrix.dequantize(), matrix.scales()),
            (weights.to_vec(), &[gamma][..])
        );
    }
}

#[test]
fn coincidences_do_not_count() {
    // A column of anything would be ternary with scales per row.
    assert_eq!(recognize_ternary(&[1.0, 2.0], 2, 1), None);
    assert_eq!(recognize_ternary(&noise(100, 2), 100, 1), None);
    let narrow = ternary(20, 31, Row, 1, distinct);
    assert_eq!(recognize_ternary(&narrow.dequantize(), 20, 31), None);
    let small = ternary(3, 20, Segments { rows: vec![2, 1] }, 1, distinct);
    assert_eq!(recognize_ternary(&small.dequantize(), 3, 20), None);
    assert_eq!(found(&[1.5], 1, 1), (Tensor, vec![1.5]));
    // Two halves of 32 weights each, of rows of 16.
    let tall = ternary(4, 16, Segments { rows: vec![2, 2] }, 1, distinct);
    assert_eq!(recognize_ternary(&tall.dequantize(), 4, 16), Some(tall));
}

#[test]
fn shapes_that_are_none_are_refused() {
    for (len, out, k) in [
        (0, 0, 4),
        (0, 4, 0),
        (3, 2, 2),
        (5, 2, 2),
        (0, usize::MAX, 2),
    ] {
        assert_eq!(
            recognize_ternary(&vec![0.5; len], out, k),
            None,
            "{len} [{out}, {k}]"
        );
    }
}

proptest! {
    #[test]
    fn whatever_is_found_is_exact(
        out in 1..12usize, k in 1..200usize, size in 1..9usize, seed: u64, spread in 1..4usize
    ) {
        let scales = |i: usize| distinct(i / spread);
        let check = |original: PackedMatrix| {
            let weights = original.dequantize();
            let found = recognize_ternary(&weights, out, k);
            if let Some(found) = &found {
                assert_eq!(found.dequantize(), weights);
                assert!(found.scales().iter().all(|&s| s.is_finite() && s > 0.0));
            }
            found.is_some()
        };
        let row = check(ternary(out, k, Row, seed, scales));
        prop_assert!(row || k < 32);
        let grouped = check(ternary(out, k, Group { size: 32 * size }, seed, scales));
        prop_assert!(grouped || k < 32);
        prop_assert!(check(ternary(out, k, Tensor, seed, scales)));
    }
}
