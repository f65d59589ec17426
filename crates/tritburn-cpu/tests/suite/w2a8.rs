//! int8 products on every instruction set of the machine against the reference, bit for bit.

use proptest::prelude::*;
use tritburn_cpu::internals::*;
use tritburn_cpu::*;
use tritburn_formats::{PackedLayout, PackedMatrix, ScaleGranularity, WeightCode, reference};

use crate::common::*;

/// Compares all instruction sets with the reference, with and without bias.
fn check(x: &[i8], matrix: &PackedMatrix, rng: &mut Random) {
    let layout = matrix.layout();
    let (n, k) = (layout.out_features(), layout.in_features());
    let m = x.len() / k.next_multiple_of(16);
    let codes = words_of(x);
    let scales: Vec<f32> = (0..m).map(|_| 0.001 + rng.float().abs()).collect();
    let bias = rng.floats(n);
    let view = QuantizedView::new(&codes, &scales, k).unwrap();
    let w = WeightView::of(matrix);

    let acc = reference::matmul_group_i32(x, matrix);
    let grouped = matches!(layout.scale(), ScaleGranularity::Group { .. });
    let expected = reference::rescale(&acc, &scales, matrix, None);
    let expected_biased = reference::rescale(&acc, &scales, matrix, Some(&bias));
    for isa in Isa::available() {
        let context = format!("{isa} [{m}, {k}] x {layout:?}");
        if !grouped {
            let mut found = vec![i32::MIN; m * n];
            matmul_w2a8_i32_with(isa, view, w, &mut found).unwrap();
            assert!(found == acc, "i32 {context}");
        }
        let mut y = vec![f32::NAN; m * n];
        matmul_w2a8_with(isa, view, w, None, &mut y).unwrap();
        assert!(y == expected, "f32 {context}");
        matmul_w2a8_with(isa, view, w, Some(&bias), &mut y).unwrap();
        assert!(y == expected_biased, "f32 with bias {context}");
    }
}

fn check_random(m: usize, n: usize, k: usize, code: WeightCode, scale: ScaleGranularity) {
    let (mut rng, matrix) = random_weights([m, n, k], code, scale);
    let x = random_bytes(&mut rng, m, k);
    check(&x, &matrix, &mut rng);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_shapes_equal_the_reference(
        m in 1usize..=70,
        n in 1usize..=40,
        k in 1usize..=600,
        code in 0usize..2,
        scale in any::<prop::sample::Index>(),
    ) {
        check_random(m, n, k, CODES[code], scale.get(&granularities(n)).clone());
    }
}

#[test]
fn every_number_of_inputs_up_to_600_equals_the_reference() {
    for k in 1..=600 {
        check_random(2, 5, k, CODES[k % 2], ScaleGranularity::Row);
    }
}

#[test]
fn every_number_of_tokens_and_rows_equals_the_reference() {
    for m in 1..=70 {
        for n in [1, 2, 3, 4, 5, 7, 31, 32, 33, 40] {
            check_random(m, n, 70, CODES[m % 2], ScaleGranularity::Tensor);
        }
    }
}

#[test]
fn every_scale_granularity_equals_the_reference() {
    for code in CODES {
        for n in [1, 2, 3, 9] {
            for scale in granularities(n) {
                for k in [5, 16, 47, 48, 130, 256, 400, 1025] {
                    check_random(3, n, k, code, scale.clone());
                }
            }
        }
    }
}

#[test]
fn matrices_of_many_tasks_equal_the_reference() {
    for (m, n, k) in [
        (1, 301, 6912),
        (1, 1030, 2100),
        (130, 270, 700),
        (300, 150, 260),
        (17, 37, 2600),
        (265, 21, 1400),
    ] {
        for code in CODES {
            check_random(m, n, k, code, ScaleGranularity::Row);
        }
    }
    check_random(
        37,
        270,
        1100,
        WeightCode::Ternary,
        ScaleGranularity::Group { size: 128 },
    );
}

/// All codes and all activations at their ends, for every width of a tile: sums that are kept in 16
/// bits for one vector longer than they fit, or are dropped between panels, come out wrong.
#[test]
fn sums_of_extremes_are_exact_for_every_number_of_tokens() {
    let n = 21;
    for k in [48, 272, 1040, 1280, 1296, 1552, 2560, 6912] {
        let layout = PackedLayout::new(n, k, WeightCode::Int2, ScaleGranularity::Tensor).unwrap();
        let mut rng = Random(k as u64);
        let top = layout.code().levels() as u8 - 1;
        let matrix = matrix_of(&mut rng, layout, &vec![top; n * k]);
        for m in 1..=20 {
            for x in [-128, 127] {
                check(&vec![x; m * k], &matrix, &mut rng);
            }
        }
    }
}

#[test]
fn largest_codes_and_activations_do_not_saturate() {
    for k in [64, 256, 600, 6912] {
        for (m, n) in [(1, 5), (20, 6)] {
            for code in CODES {
                let layout = PackedLayout::new(n, k, code, ScaleGranularity::Tensor).unwrap();
                let stride = k.next_multiple_of(16);
                for top in [true, false] {
                    let stored = if top { code.levels() as u8 - 1 } else { 0 };
                    let mut rng = Random(k as u64);
                    let matrix = matrix_of(&mut rng, layout.clone(), &vec![stored; n * k]);
                    for x in [-128, 127] {
                        check(&vec![x; m * stride], &matrix, &mut rng);
                    }
                    let alternating: Vec<i8> = (0..m * stride)
                        .map(|i| if i % 2 == 0 { -128 } else { 127 })
                        .collect();
                    check(&alternating, &matrix, &mut rng);
                }
            }
        }
    }
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let mut rng = Random(3);
    let (m, n, k) = (9, 500, 1000);
    for scale in [ScaleGranularity::Row, ScaleGranularity::Group { size: 64 }] {
        let layout = PackedLayout::new(n, k, WeightCode::Int2, scale).unwrap();
        let matrix = random_matrix(&mut rng, layout);
        let codes = words_of(&random_bytes(&mut rng, m, k));
        let scales = rng.floats(m);
        let [one, three] = on_threads(|| {
            let mut y = vec![0.0; m * n];
            let x = QuantizedView::new(&codes, &scales, k).unwrap();
            matmul_w2a8(x, WeightView::of(&matrix), None, &mut y).unwrap();
            y
        });
        assert_eq!(one, three);
    }
}

#[test]
fn a_row_that_is_not_finite_becomes_nan_and_no_other_does() {
    let mut rng = Random(4);
    let (m, n, k) = (20, 6, 100);
    for scale in granularities(n) {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = rng.floats(m * k);
            x[3 * k + 99] = bad;
            let mut codes = vec![u32::MAX; m * 28];
            let mut scales = vec![0.0; m];
            quantize_activations(&x, k, &mut codes, &mut scales).unwrap();
            assert!(codes[3 * 28..4 * 28].iter().all(|&c| c == 0));
            let layout = PackedLayout::new(n, k, WeightCode::Ternary, scale.clone()).unwrap();
            let matrix = random_matrix(&mut rng, layout);
            for isa in Isa::available() {
                let mut y = vec![0.0; m * n];
                let x = QuantizedView::new(&codes, &scales, k).unwrap();
                matmul_w2a8_with(isa, x, WeightView::of(&matrix), None, &mut y).unwrap();
                assert_nan_row(&y, n, 3, isa);
            }
        }
    }
}

#[test]
fn no_tokens_give_no_outputs() {
    let layout = PackedLayout::new(5, 40, WeightCode::Ternary, ScaleGranularity::Row).unwrap();
    let matrix = random_matrix(&mut Random(5), layout);
    let w = WeightView::of(&matrix);
    let x = QuantizedView::new(&[], &[], 40).unwrap();
    for isa in Isa::available() {
        assert_eq!(matmul_w2a8_with(isa, x, w, None, &mut []), Ok(()));
        assert_eq!(matmul_w2a8_i32_with(isa, x, w, &mut []), Ok(()));
    }
}
