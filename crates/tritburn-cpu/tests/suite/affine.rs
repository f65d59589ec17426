//! Products with 2, 3 and 4 bits in groups, on every instruction set of the machine.

use proptest::prelude::*;
use tritburn_cpu::internals::matmul_affine_with;
use tritburn_cpu::{AffineOperands, AffineView, CpuError, FloatsView, Isa, matmul_affine};
use tritburn_formats::affine::{
    AffineLayout, AffineMatrix, AffineParts, Bits, FloatType, Floats, pack_affine_codes,
};
use tritburn_formats::reference;

use crate::common::*;

const FLOATS: [FloatType; 3] = [FloatType::F32, FloatType::F16, FloatType::Bf16];
const GROUPS: [Option<usize>; 6] = [None, Some(16), Some(32), Some(48), Some(128), Some(1024)];

/// A matrix of random parts, its padding scribbled on.
fn random_affine(rng: &mut Random, layout: AffineLayout) -> AffineMatrix {
    let levels = usize::from(layout.bits().max_code()) + 1;
    let codes: Vec<u8> = (0..layout.weight_count())
        .map(|_| rng.below(levels) as u8)
        .collect();
    let mask: Vec<u32> = (0..layout.mask_count()).map(|_| random_mask(rng)).collect();
    let mut words = pack_affine_codes(&codes, &mask, &layout).unwrap();
    let used = layout.in_features() % 32 * layout.bits().count();
    if used > 0 {
        for row in words.chunks_mut(layout.words_per_row()) {
            let unit = row.len() - layout.words_per_unit();
            for bit in used..32 * layout.words_per_unit() {
                row[unit + bit / 32] |= (rng.below(2) as u32) << (bit % 32);
            }
        }
    }
    let mut floats = |map: fn(f32) -> f32| {
        let values: Vec<f32> = (0..layout.group_count())
            .map(|_| map(rng.float()))
            .collect();
        Floats::from_f32(&values, layout.floats())
    };
    let scales = floats(|x| (0.01 + x.abs()) * x.signum());
    let zeros = layout.has_zeros().then(|| floats(|x| 20.0 * x));
    let mut order: Vec<u32> = (0..layout.in_features() as u32).collect();
    for i in (1..order.len()).rev() {
        order.swap(i, rng.below(i + 1));
    }
    AffineMatrix::new(AffineParts {
        words,
        mask,
        scales,
        zeros,
        order: layout.is_permuted().then_some(order),
        layout,
    })
    .unwrap()
}

/// 16 of 32 bits; sometimes those of one half, so that a half keeps all or none.
fn random_mask(rng: &mut Random) -> u32 {
    match rng.below(8) {
        0 => 0xffff,
        1 => 0xffff_0000,
        _ => {
            let mut mask = 0u32;
            while mask.count_ones() < 16 {
                mask |= 1 << rng.below(32);
            }
            mask
        }
    }
}

/// An output may be off by the rounding of K products and sums, and of the two operations that make
/// a weight: each at most half an ulp, `2⁻²⁴` of the sizes of the terms.
fn check(rng: &mut Random, m: usize, layout: AffineLayout) {
    let (n, k) = (layout.out_features(), layout.in_features());
    let matrix = random_affine(rng, layout.clone());
    let (x, bias) = (rng.floats(m * k), rng.floats(n));
    let weights = matrix.dequantize();
    let expected = reference::matmul_affine(&x, &matrix, Some(&bias));
    for isa in Isa::available() {
        let mut y = vec![f32::NAN; m * n];
        let w = AffineView::of(&matrix);
        matmul_affine_with(isa, &x, w, Some(&bias), &mut y).unwrap();
        for (i, (&y, &expected)) in y.iter().zip(&expected).enumerate() {
            let (x, w) = (&x[i / n * k..][..k], &weights[i % n * k..][..k]);
            let terms = x.iter().zip(w).map(|(x, w)| f64::from(x * w).abs());
            let size = terms.sum::<f64>() + f64::from(bias[i % n].abs());
            let bound = (k + 5) as f64 * 2f64.powi(-24) * size;
            assert!(
                f64::from((y - expected).abs()) <= bound,
                "{isa} {m} tokens, {layout:?} at {i}: {y} instead of {expected}"
            );
        }
        let mut again = vec![f32::NAN; m * n];
        matmul_affine_with(isa, &x, w, Some(&bias), &mut again).unwrap();
        assert_eq!(bits(&y), bits(&again), "{isa}");
    }
}

fn layout(shape: [usize; 2], bits: Bits, group: Option<usize>) -> AffineLayout {
    AffineLayout::new(shape, bits, group).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 192,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_shapes_agree_with_the_reference(
        (m, n, k) in (1usize..=9, 1usize..=20, 1usize..=500),
        bits in 0usize..3,
        group in 0usize..6,
        float in 0usize..3,
        (zeros, permuted, sparse) in any::<(bool, bool, bool)>(),
        seed: u64,
    ) {
        let mut layout = layout([n, k], Bits::ALL[bits], GROUPS[group]).with_floats(FLOATS[float]);
        if zeros {
            layout = layout.with_zeros();
        }
        if permuted {
            layout = layout.with_order();
        }
        if sparse {
            let shape = [n, k.next_multiple_of(32)];
            let whole = AffineLayout::new(shape, Bits::Four, GROUPS[group].filter(|g| g % 32 == 0));
            layout = whole.unwrap().with_floats(FLOATS[float]).sparse().unwrap();
            if zeros {
                layout = layout.with_zeros();
            }
        }
        check(&mut Random(seed), m, layout);
    }
}

#[test]
fn every_number_of_inputs_up_to_200_agrees_with_the_reference() {
    let mut rng = Random(3);
    for k in 1..=200 {
        for bits in Bits::ALL {
            check(
                &mut rng,
                1 + k % 2,
                layout([5, k], bits, GROUPS[k % 6]).with_zeros(),
            );
        }
    }
}

#[test]
fn matrices_of_many_tasks_agree_with_the_reference() {
    let mut rng = Random(4);
    for bits in Bits::ALL {
        check(&mut rng, 1, layout([301, 4096], bits, Some(128)));
        check(
            &mut rng,
            33,
            layout([270, 704], bits, Some(48)).with_zeros(),
        );
    }
    let sparse = layout([301, 4096], Bits::Four, Some(64)).with_zeros();
    check(&mut rng, 1, sparse.sparse().unwrap());
}

#[test]
fn small_integers_are_exact() {
    // All partial sums are integers below 2^24, so the order of the sum cannot matter.
    let mut rng = Random(9);
    let (m, n, k) = (7, 11, 512);
    for (bits, sparse) in [
        (Bits::Two, false),
        (Bits::Three, false),
        (Bits::Four, false),
        (Bits::Four, true),
    ] {
        let layout = layout([n, k], bits, Some(64)).with_zeros().with_order();
        let layout = if sparse {
            layout.sparse().unwrap()
        } else {
            layout
        };
        let mut parts = random_affine(&mut rng, layout.clone()).into_parts();
        let mut whole = |below: usize, from: f32| {
            let value = |_| rng.below(below) as f32 + from;
            let values: Vec<f32> = (0..layout.group_count()).map(value).collect();
            Floats::from_f32(&values, layout.floats())
        };
        parts.scales = whole(4, 1.0);
        parts.zeros = Some(whole(19, -2.0));
        let matrix = AffineMatrix::new(parts).unwrap();
        let x: Vec<f32> = (0..m * k).map(|_| rng.below(101) as f32 - 50.0).collect();
        let expected = reference::matmul_affine(&x, &matrix, None);
        for isa in Isa::available() {
            let mut y = vec![f32::NAN; m * n];
            matmul_affine_with(isa, &x, AffineView::of(&matrix), None, &mut y).unwrap();
            assert_eq!(y, expected, "{isa} {bits:?}");
        }
    }
}

#[test]
fn weights_have_the_bits_of_dequantize() {
    // Activations that pick one weight: nothing is added to it but zeros.
    let mut rng = Random(5);
    for bits in Bits::ALL {
        let matrix = random_affine(&mut rng, layout([9, 100], bits, Some(48)).with_zeros());
        let weights = matrix.dequantize();
        for isa in Isa::available() {
            for k in 0..100 {
                let mut x = vec![0.0; 100];
                x[k] = 1.0;
                let mut y = vec![f32::NAN; 9];
                matmul_affine_with(isa, &x, AffineView::of(&matrix), None, &mut y).unwrap();
                let column: Vec<f32> = weights.chunks(100).map(|row| row[k]).collect();
                assert_eq!(y, column, "{isa} {bits:?}");
            }
        }
    }
}

#[test]
fn threads_and_the_number_of_tokens_change_no_bit() {
    let mut rng = Random(6);
    let matrix = random_affine(
        &mut rng,
        layout([301, 1000], Bits::Three, Some(48)).with_zeros(),
    );
    let x = rng.floats(7 * 1000);
    let w = AffineView::of(&matrix);
    let [one, three] = on_threads(|| {
        let mut y = vec![0.0; 7 * 301];
        matmul_affine(&x, w, None, &mut y).unwrap();
        y
    });
    assert_eq!(bits(&one), bits(&three));
    for (x, expected) in x.chunks(1000).zip(one.chunks(301)) {
        let mut y = vec![0.0; 301];
        matmul_affine(x, w, None, &mut y).unwrap();
        assert_eq!(bits(&y), bits(expected));
    }
}

#[test]
fn a_nan_input_stays_in_its_row_and_no_tokens_give_no_outputs() {
    let mut rng = Random(10);
    let matrix = random_affine(&mut rng, layout([6, 50], Bits::Four, None));
    let w = AffineView::of(&matrix);
    let mut x = rng.floats(9 * 50);
    x[4 * 50 + 49] = f32::NAN;
    for isa in Isa::available() {
        let mut y = vec![0.0; 9 * 6];
        matmul_affine_with(isa, &x, w, None, &mut y).unwrap();
        assert_nan_row(&y, 6, 4, isa);
        assert_eq!(matmul_affine_with(isa, &[], w, None, &mut []), Ok(()));
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let layout = layout([2, 64], Bits::Four, Some(32))
        .with_zeros()
        .with_order();
    let layout = layout.sparse().unwrap();
    let matrix = random_affine(&mut Random(1), layout.clone());
    let good = AffineOperands {
        words: matrix.words(),
        mask: matrix.mask(),
        scales: FloatsView::of(matrix.scales()),
        zeros: matrix.zeros().map(FloatsView::of),
        order: matrix.order(),
    };
    let error = |change: &dyn Fn(&mut AffineOperands<'static>)| {
        let leaked: &'static AffineMatrix = Box::leak(Box::new(matrix.clone()));
        let mut operands = AffineOperands {
            words: leaked.words(),
            mask: leaked.mask(),
            scales: FloatsView::of(leaked.scales()),
            zeros: leaked.zeros().map(FloatsView::of),
            order: leaked.order(),
        };
        change(&mut operands);
        AffineView::new(&layout, operands).expect_err("operands that do not fit")
    };
    let length = |operand, found, expected| CpuError::Length {
        operand,
        found,
        expected,
    };
    assert!(AffineView::new(&layout, good).is_ok());
    assert_eq!(error(&|o| o.words = &o.words[1..]), length("words", 7, 8));
    assert_eq!(error(&|o| o.mask = &[]), length("mask", 0, 4));
    assert_eq!(error(&|o| o.zeros = None), length("zeros", 0, 4));
    assert_eq!(error(&|o| o.order = None), length("order", 0, 64));
    assert_eq!(
        error(&|o| o.scales = FloatsView::F16(&[])),
        length("scales", 0, 4)
    );
    let (operand, found, expected) = ("scales", FloatType::F32, FloatType::F16);
    assert_eq!(
        error(&|o| o.scales = FloatsView::F32(&[1.0; 4])),
        CpuError::FloatType {
            operand,
            found,
            expected
        }
    );
    let (operand, at, found, limit) = ("order", 63, 64, 64);
    let order: &'static [u32] = Box::leak((1..=64).collect());
    assert_eq!(
        error(&|o| o.order = Some(order)),
        CpuError::Index {
            operand,
            at,
            found,
            limit
        }
    );
    let w = AffineView::of(&matrix);
    let mut y = [0.0; 2];
    assert_eq!(
        matmul_affine(&[0.0; 63], w, None, &mut y),
        Err(length("x", 63, 0))
    );
    assert_eq!(
        matmul_affine(&[0.0; 128], w, None, &mut y),
        Err(length("y", 2, 4))
    );
    assert_eq!(
        matmul_affine(&[0.0; 64], w, Some(&[0.0]), &mut y),
        Err(length("bias", 1, 2))
    );
}
