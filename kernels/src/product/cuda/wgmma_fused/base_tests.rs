//! Tests of the plan.

use super::*;
use crate::device::test_gpus::HOPPER;
use crate::prepack::{FragmentOrder, WeightOrder};
use crate::product::problem::problem;

const DTYPES: [FloatType; 3] = [FloatType::F32, FloatType::F16, FloatType::BF16];

fn floats(m: usize, n: usize, k: usize, dtype: FloatType) -> MatmulProblem {
    MatmulProblem {
        activations: ActivationType::Quantized(dtype),
        order: WeightOrder::Fragments(FragmentOrder::Int8),
        ..problem(m, n, k)
    }
}

#[test]
fn every_candidate_fits_and_gives_each_cube_columns_and_tokens() {
    let cuda = HOPPER.cuda.unwrap();
    let sizes = [1usize, 127, 512, 2560, 3200, 6912, 28_672];
    for dtype in DTYPES {
        for (n, k) in sizes.iter().flat_map(|&n| sizes.map(|k| (n, k))) {
            let steps = k.div_ceil(TILE_COLS);
            for m in [1, 9, 17, 127, 1000, 8192] {
                let problem = floats(m, n, k, dtype);
                let ranked = FusedBlueprint::ranked(&problem, &cuda);
                assert_eq!(
                    FusedBlueprint::new(&problem, &cuda),
                    ranked.first().copied()
                );
                for plan in ranked {
                    let what = format!("{plan:?} {dtype} {m} x {n} x {k}");
                    assert_eq!(plan.validate(steps, dtype, &HOPPER), Ok(()), "{what}");
                    assert!(plan.shared_bytes(dtype) <= 227 << 10, "{what}");
                    // Whole warps have whole tokens, or whole tokens whole warps.
                    let warps = plan.units() / 32;
                    assert_eq!(plan.teams() * plan.parts(), warps, "{what}");
                    assert!(plan.own_tokens().is_multiple_of(plan.teams()), "{what}");
                    assert!(plan.slots() <= 32, "{what}");
                    assert!(plan.ring_at().is_multiple_of(1024), "{what}");
                    assert!(plan.staging_at().is_multiple_of(128), "{what}");
                    assert!(plan.maxima_at(dtype).is_multiple_of(16), "{what}");
                    assert!(plan.barriers_at(dtype).is_multiple_of(8), "{what}");
                }
            }
        }
    }
}

/// The fastest of 40 timed on an H100.
#[test]
fn the_first_choice_was_fast_where_it_was_timed() {
    let cuda = HOPPER.cuda.unwrap();
    // (warpgroups, tiles, tokens, stages, splits, shares)
    let timed = [
        ([1024, 512, 2048], (2, 2, 16, 16, 1, 2)),
        ([1024, 2048, 512], (4, 2, 32, 4, 1, 2)),
        ([16, 4096, 4096], (4, 1, 16, 8, 4, 1)),
        ([128, 4096, 4096], (4, 1, 32, 4, 2, 1)),
        ([16, 11008, 4096], (4, 2, 16, 3, 4, 1)),
        ([256, 2560, 2560], (4, 1, 32, 8, 1, 2)),
        ([64, 4096, 4096], (4, 1, 16, 16, 2, 1)),
    ];
    for ([m, n, k], expected) in timed {
        let plan = FusedBlueprint::new(&floats(m, n, k, FloatType::BF16), &cuda).unwrap();
        let FusedBlueprint {
            warpgroups,
            tiles,
            tokens,
            stages,
            splits,
            shares,
            ..
        } = plan;
        let found = (warpgroups, tiles, tokens, stages, splits, shares);
        assert_eq!(found, expected, "{m} x {n} x {k}");
    }
}

#[test]
fn usual_shapes_have_plans_for_each_way_to_cut_a_cluster() {
    let cuda = HOPPER.cuda.unwrap();
    let problem = floats(1024, 1024, 2048, FloatType::BF16);
    let all = FusedBlueprint::candidates(&problem, &cuda);
    for splits in [1, 2, 4, 8] {
        for shares in [1, 2, 4, 8].into_iter().filter(|n| n * splits <= 8) {
            let found = |plan: &FusedBlueprint| (plan.splits, plan.shares) == (splits, shares);
            assert!(all.iter().any(found), "{splits} x {shares}");
        }
    }
}

#[test]
fn nothing_is_planned_where_the_kernel_cannot_run() {
    let cuda = HOPPER.cuda.unwrap();
    let good = floats(64, 512, 2048, FloatType::BF16);
    let int8 = problem(64, 512, 2048);
    let crooked = MatmulProblem {
        whole_lines: false,
        ..good
    };
    let long = floats(64, 512, 200_000, FloatType::F32);
    assert!(FusedBlueprint::new(&good, &cuda).is_some());
    for problem in [int8, crooked, long] {
        assert_eq!(FusedBlueprint::new(&problem, &cuda), None, "{problem:?}");
    }
    let ampere = CudaFacts {
        capability: 80,
        ..cuda
    };
    assert_eq!(FusedBlueprint::new(&good, &ampere), None);
}

#[test]
fn sizes_that_do_not_exist_are_refused() {
    let plan = FusedBlueprint {
        warpgroups: 2,
        tiles: 1,
        tokens: 64,
        columns: 8,
        stages: 8,
        splits: 2,
        shares: 4,
    };
    let validate = |plan: FusedBlueprint, steps| plan.validate(steps, FloatType::BF16, &HOPPER);
    assert_eq!(validate(plan, 16), Ok(()));
    // 17 tiles do not fit twice 8, and one tile does not go round.
    let wrong = [
        (plan, 17),
        (plan, 1),
        (FusedBlueprint { splits: 4, ..plan }, 16),
        (FusedBlueprint { splits: 0, ..plan }, 16),
        (FusedBlueprint { shares: 0, ..plan }, 16),
        (FusedBlueprint { tokens: 0, ..plan }, 16),
        (
            FusedBlueprint {
                tokens: 256,
                ..plan
            },
            16,
        ),
        (FusedBlueprint { columns: 6, ..plan }, 12),
        (
            FusedBlueprint {
                columns: 64,
                ..plan
            },
            16,
        ),
        (FusedBlueprint { stages: 0, ..plan }, 16),
        (
            FusedBlueprint {
                warpgroups: 3,
                ..plan
            },
            16,
        ),
    ];
    for (plan, steps) in wrong {
        let refused = validate(plan, steps);
        assert!(matches!(refused, Err(KernelError::Plan { .. })), "{plan:?}");
    }
}
