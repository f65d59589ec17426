//! One token whose warps quantise it, against the quantiser and a product: equal in every bit.

use rstest::rstest;
use tritburn_formats::{ScaleGranularity, WeightCode};
use tritburn_kernels::product::cuda::skinny::SkinnyBlueprint;
use tritburn_kernels::product::{self, Plan, Strategy};
use tritburn_kernels::{FragmentOrder, KernelError, QuantizedActivations};

use super::fused::{BF16, BF16_BIAS, Case, F16, F16_TO_F32, F32, Kind};
use crate::harness::*;
use crate::support::{client, prepacked};

const KINDS: [Kind; 5] = [F32, F16, BF16, BF16_BIAS, F16_TO_F32];

/// `(strips, splits, ahead)`: up to 20,480, 2,048, 2,560 and 128 columns, and 32 warps of a tile each.
const SIZES: [(usize, usize, usize); 5] =
    [(1, 20, 8), (2, 4, 4), (1, 10, 2), (3, 1, 1), (1, 32, 1)];

fn plans(k: usize) -> Vec<Strategy> {
    let plan = |(strips, splits, ahead)| {
        Strategy::Forced(Plan::Skinny(SkinnyBlueprint {
            strips,
            quantizes: true,
            ..SkinnyBlueprint::one_round(splits, ahead)
        }))
    };
    let sizes = SIZES.into_iter();
    let fits = sizes.filter(|(_, splits, ahead)| k.div_ceil(128) <= splits * ahead);
    fits.map(plan).collect()
}

#[rstest]
#[ignore = "needs a Hopper GPU"]
fn plans_of_every_kind_give_the_bits_of_two_launches(#[values(0, 1, 2, 3, 4)] kind: usize) {
    let client = client();
    let (kind, mut rng) = (KINDS[kind], rng(61 + kind));
    // Rows that end with a line, within a tile or with one, and more tokens than the plan is for.
    for (m, n, k) in [
        (1, 1, 8),
        (1, 67, 120),
        (1, 16, 128),
        (3, 130, 1000),
        (1, 131, 1280),
        (2, 64, 2048),
        (1, 300, 2552),
        (1, 40, 4096),
        (1, 33, 20_480),
    ] {
        let case = Case::new(&client, &mut rng, kind, [m, n, k]);
        case.assert_equal(&client, plans(k));
    }
}

#[rstest]
#[ignore = "needs a Hopper GPU"]
fn rows_with_nan_or_infinity_become_nan_and_leave_others_alone(#[values(0, 1, 2)] kind: usize) {
    let client = client();
    let k = 1000;
    let spoil = |x: &mut [f32]| {
        x[k] = f32::NAN;
        x[3 * k - 1] = f32::INFINITY;
        x[3 * k + 129] = f32::NEG_INFINITY;
        x[4 * k..5 * k].fill(0.0);
        x[5 * k..6 * k].fill(1e-7);
    };
    let case = Case::of(&client, &mut rng(5), KINDS[kind], [7, 100, k], spoil);
    let expected = case.apart(&client);
    for strategy in plans(k) {
        let y = case.inside(&client, strategy);
        assert_bits(&y, &expected, &format!("{strategy:?}"));
        for (row, y) in y.chunks(100).enumerate() {
            let lost = (1..=3).contains(&row);
            assert!(
                y.iter().all(|y| y.is_nan() == lost),
                "{strategy:?}: row {row}"
            );
        }
    }
}

#[rstest]
#[ignore = "needs a Hopper GPU"]
fn the_selector_takes_such_a_plan(
    #[values((2560, 2560), (4096, 4096), (2560, 6912), (300, 28_672))] shape: (usize, usize),
) {
    let client = client();
    let (n, k) = shape;
    let case = Case::new(&client, &mut rng(n), BF16, [1, n, k]);
    case.assert_equal(&client, [Strategy::Auto]);
}

/// Forced where it cannot run, the plan is refused; left to the selector, such a product takes two launches.
#[test]
#[ignore = "needs a Hopper GPU"]
fn what_the_kernel_cannot_run_is_refused_or_done_in_two_launches() {
    let client = client();
    let forced = plans(2560)[0];
    // Rows that end within a line.
    let case = Case::new(&client, &mut rng(1), BF16, [1, 40, 2052]);
    case.assert_equal(&client, [Strategy::Auto]);
    let y = case.out(&client);
    let refused =
        product::w2a8_quantizing(&client, &case.x, &case.weights, None, &y.matrix, forced);
    assert!(
        matches!(refused, Err(KernelError::Plan { .. })),
        "{refused:?}"
    );
    // int8 given.
    let layout = layout(40, 2048, WeightCode::Ternary, ScaleGranularity::Row);
    let weights = prepacked(&client, &matrix(&mut rng(2), &layout), FragmentOrder::Int8);
    let (codes, _) = empty(&client, QuantizedActivations::words_per_row(2048));
    let (scales, _) = empty(&client, 1);
    let codes = QuantizedActivations::new(1, 2048, codes, scales).unwrap();
    let refused = product::w2a8(&client, &codes, &weights, None, &y.matrix, forced);
    assert!(
        matches!(refused, Err(KernelError::Plan { .. })),
        "{refused:?}"
    );
}
