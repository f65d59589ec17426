//! Products with prepacked weights: every kernel forced, integers exact.

use cubecl::client::Client;
use half::bf16;
use rand::RngExt;
use rstest::rstest;
use tritburn_formats::matrix::PackedMatrix;
use tritburn_formats::quantize::QuantizedActivations as Reference;
use tritburn_formats::{ScaleGranularity, WeightCode, reference};
use tritburn_kernels::product::{self, Plan, Strategy};
use tritburn_kernels::{FloatType, FragmentOrder, KernelError, PrepackedWeights};

use crate::harness::*;
use crate::support::{Family, client, half_plans, is_per_warp, plans, prepacked, shifted_matrix};

fn integers(
    client: &Client,
    x: &Reference,
    weights: &PrepackedWeights,
    strategy: Strategy,
) -> Vec<i32> {
    let (y, handle) = empty(client, x.rows() * weights.layout().out_features());
    product::w2a8_i32(client, &activations(client, x), weights, &y, strategy).unwrap();
    read_i32(client, &handle)
}

/// Whether the columns are enough for the cubes of a cluster, or few enough for one round of warps.
fn runs(strategy: &Strategy, matrix: &PackedMatrix) -> bool {
    let steps = matrix.layout().in_features().div_ceil(128);
    match strategy {
        Strategy::Forced(Plan::Wgmma(plan)) => plan.divides(steps),
        Strategy::Forced(Plan::Skinny(plan)) if plan.per_warp => steps <= plan.splits * plan.ahead,
        _ => true,
    }
}

fn assert_integers(client: &Client, x: &Reference, matrix: &PackedMatrix, strategies: &[Strategy]) {
    let weights = prepacked(client, matrix, FragmentOrder::Int8);
    let expected = reference::matmul_i32(x.bytes(), matrix);
    for &strategy in strategies.iter().filter(|strategy| runs(strategy, matrix)) {
        let found = integers(client, x, &weights, strategy);
        let wrong = found.iter().zip(&expected).filter(|(f, e)| f != e).count();
        let first = found.iter().zip(&expected).position(|(f, e)| f != e);
        let detail = first.map(|i| (i, found[i], expected[i]));
        let layout = matrix.layout();
        assert_eq!(
            wrong,
            0,
            "m {} {layout:?} {strategy:?}: first {detail:?}",
            x.rows()
        );
    }
}

fn forced(plans: Vec<Plan>) -> Vec<Strategy> {
    let plans = plans.into_iter().map(Strategy::Forced);
    plans.chain([Strategy::Auto]).collect()
}

/// 2,000 products and more: rows and tokens around tiles, columns around words and tiles.
#[rstest]
#[case::skinny(Family::Skinny)]
#[case::mma(Family::Mma)]
#[case::wmma(Family::Wmma)]
#[ignore = "needs a Hopper GPU"]
#[case::hopper_wgmma(Family::Wgmma)]
fn random_shapes_are_exact(#[case] family: Family) {
    let client = client();
    let strategies = forced(plans(family));
    let mut rng = rng(11);
    let around = |rng: &mut rand::rngs::StdRng, step: usize, most: usize| {
        let base = step * rng.random_range(0..=most / step);
        (base + rng.random_range(0..=4)).saturating_sub(2).max(1)
    };
    let cases = 600 / strategies.len() + 1;
    for case in 0..cases {
        let m = around(
            &mut rng,
            [1, 8, 16, 64][case % 4],
            [8, 40, 100, 300][case % 4],
        );
        let n = around(&mut rng, [2, 16, 64][case % 3], 400);
        let k = around(&mut rng, [16, 32, 128][(case / 3) % 3], 1200);
        let code = CODES[case % 2];
        let scale = match case % 3 {
            0 => ScaleGranularity::Tensor,
            1 => ScaleGranularity::Row,
            _ if n > 2 => ScaleGranularity::Segments {
                rows: vec![1, n - 1],
            },
            _ => ScaleGranularity::Row,
        };
        let matrix = matrix(&mut rng, &layout(n, k, code, scale));
        let x = tokens(&mut rng, m, k);
        assert_integers(&client, &x, &matrix, &strategies);
    }
}

/// More output tiles than a device has multiprocessors: cubes go from tile to tile, their rings of copies
/// ahead of them, wherever in the ring a tile ends.
#[test]
#[ignore = "needs a Hopper GPU"]
fn cubes_of_hopper_that_work_on_several_tiles_are_exact() {
    let client = client();
    let strategies = forced(plans(Family::Wgmma));
    let mut rng = rng(15);
    for (m, n, k) in [(4200, 1030, 100), (4200, 1030, 700), (300, 9000, 1100)] {
        let layout = layout(n, k, WeightCode::Ternary, ScaleGranularity::Tensor);
        let matrix = matrix(&mut rng, &layout);
        let x = tokens(&mut rng, m, k);
        assert_integers(&client, &x, &matrix, &strategies);
    }
}

#[rstest]
#[case::skinny(Family::Skinny)]
#[case::mma(Family::Mma)]
#[case::wmma(Family::Wmma)]
#[ignore = "needs a Hopper GPU"]
#[case::hopper_wgmma(Family::Wgmma)]
fn extreme_values_do_not_overflow(#[case] family: Family) {
    let client = client();
    let strategies = forced(plans(family));
    for (code, k) in [(WeightCode::Ternary, 20_000), (WeightCode::Int2, 20_000)] {
        let layout = layout(70, k, code, ScaleGranularity::Tensor);
        let w: Vec<f32> = (0..70 * k)
            .map(|i| if i / k % 2 == 0 { 1.0 } else { -1.0 })
            .collect();
        let matrix = tritburn_formats::quantize::quantize_weights(&w, &layout).unwrap();
        let x: Vec<f32> = (0..18 * k)
            .map(|i| if i / k % 2 == 0 { 3.0 } else { -3.0 })
            .collect();
        let x = Reference::quantize(&x, k).unwrap();
        assert_integers(&client, &x, &matrix, &strategies);
    }
}

/// Rescaled outputs: one rounding of the reference's f32 value, or its neighbour where the
/// compiler contracts the product and the bias.
#[rstest]
#[case::skinny(Family::Skinny)]
#[case::mma(Family::Mma)]
#[case::wmma(Family::Wmma)]
#[ignore = "needs a Hopper GPU"]
#[case::hopper_wgmma(Family::Wgmma)]
fn outputs_are_the_references(#[case] family: Family) {
    let client = client();
    let mut rng = rng(12);
    for (case, strategy) in forced(plans(family)).into_iter().enumerate() {
        for dtype in FLOATS {
            // Parts of tiles, and whole ones.
            let (m, n, k) = ([3, 33, 130, 256][case % 4], [67, 128, 512][case % 3], 2004);
            let scale = [
                ScaleGranularity::Tensor,
                ScaleGranularity::Row,
                ScaleGranularity::Segments {
                    rows: vec![5, n - 5],
                },
            ][(case + dtype.size()) % 3]
                .clone();
            let matrix = matrix(&mut rng, &layout(n, k, CODES[case % 2], scale));
            let x = tokens(&mut rng, m, k);
            let bias = floats(&mut rng, n, dtype);
            let weights = prepacked(&client, &matrix, FragmentOrder::Int8);
            let out = Out::new(&client, [m, n], n + [0, 1, 2][case % 3], dtype);
            let device_bias = float_vector(&client, &bias, dtype);
            if !runs(&strategy, &matrix) {
                continue;
            }
            let (x_device, y) = (activations(&client, &x), &out.matrix);
            product::w2a8(
                &client,
                &x_device,
                &weights,
                Some(&device_bias),
                y,
                strategy,
            )
            .unwrap();
            let sums = reference::matmul_group_i32(x.bytes(), &matrix);
            let exact = reference::rescale(&sums, x.scales(), &matrix, Some(&bias));
            let expected: Vec<f64> = exact.iter().map(|&y| y as f64).collect();
            let bounds: Vec<f64> = expected
                .iter()
                .map(|y| y.abs() * epsilon(dtype) + 1e-6)
                .collect();
            let found = out.read(&client);
            assert_within(&found, &expected, &bounds, &format!("{strategy:?} {dtype}"));
        }
    }
}

/// Products of rows of `k` in f64, and how far sums in f32 may be off.
fn products(x: &[f32], w: &[f32], k: usize) -> (Vec<f64>, Vec<f64>) {
    let mut expected = Vec::new();
    let mut bounds = Vec::new();
    for row in x.chunks(k) {
        for weights in w.chunks(k) {
            let terms = row.iter().zip(weights).map(|(x, w)| *x as f64 * *w as f64);
            let magnitude: f64 = terms.clone().map(f64::abs).sum();
            expected.push(terms.sum());
            bounds.push(magnitude * 2e-6 + 1e-6);
        }
    }
    (expected, bounds)
}

/// Float activations, against f64 sums.
#[rstest]
#[case::skinny(Family::Skinny)]
#[case::mma(Family::Mma)]
#[ignore = "needs a Hopper GPU"]
#[case::hopper_wgmma(Family::Wgmma)]
fn float_products_are_close(#[case] family: Family) {
    let client = client();
    let mut rng = rng(13);
    for (case, strategy) in forced(half_plans(family)).into_iter().enumerate() {
        for dtype in FLOATS {
            let wgmma = !matches!(strategy, Strategy::Forced(Plan::Skinny(_)) | Strategy::Auto);
            if wgmma && dtype == FloatType::F32 {
                continue;
            }
            for code in CODES {
                let (m, n, k) = ([3, 33, 130][case % 3], [67, 128][case % 2], 2008);
                let matrix = matrix(&mut rng, &layout(n, k, code, ScaleGranularity::Row));
                if !runs(&strategy, &matrix) {
                    continue;
                }
                let x = floats(&mut rng, m * k, dtype);
                let weights = prepacked(&client, &matrix, FragmentOrder::Half);
                // Padding between rows and ahead of them is NaN; the warpgroup kernels want rows at
                // multiples of 16 bytes.
                let stride = k + [0, if wgmma { 8 } else { 1 }][case % 2];
                let x_device = match case % 3 {
                    0 => shifted_matrix(&client, &x, [m, k], stride, dtype),
                    _ => float_matrix(&client, &x, [m, k], stride, dtype),
                };
                let out = Out::new(&client, [m, n], n + 1, FloatType::F32);
                product::w2a16(&client, &x_device, &weights, None, &out.matrix, strategy).unwrap();
                let (expected, bounds) = products(&x, &matrix.dequantize(), k);
                let found = out.read(&client);
                let what = format!("{strategy:?} {dtype} {code:?}");
                assert_within(&found, &expected, &bounds, &what);
            }
        }
    }
}

/// Warps that bring their own activations: rows that end within a line, a word or a tile, between padding
/// that is NaN.
#[rstest]
fn float_products_of_single_warps_are_close(
    #[values(FloatType::F16, FloatType::BF16)] dtype: FloatType,
    #[values(1, 120, 1000, 1023, 1280, 2004)] k: usize,
    #[values(1, 3)] m: usize,
) {
    let client = client();
    let mut rng = rng(16);
    let per_warp = plans(Family::Skinny).into_iter().filter(is_per_warp);
    for (case, plan) in per_warp.enumerate() {
        let code = CODES[case % 2];
        let matrix = matrix(&mut rng, &layout(67, k, code, ScaleGranularity::Row));
        let x = floats(&mut rng, m * k, dtype);
        let weights = prepacked(&client, &matrix, FragmentOrder::Half);
        let x_device = float_matrix(&client, &x, [m, k], k.next_multiple_of(8) + 8, dtype);
        let out = Out::new(&client, [m, 67], 67, FloatType::F32);
        let strategy = Strategy::Forced(plan);
        product::w2a16(&client, &x_device, &weights, None, &out.matrix, strategy).unwrap();
        let (expected, bounds) = products(&x, &matrix.dequantize(), k);
        assert_within(
            &out.read(&client),
            &expected,
            &bounds,
            &format!("{plan:?} {code:?}"),
        );
        let unaligned = float_matrix(&client, &x, [m, k], k.next_multiple_of(8) + 1, dtype);
        let refused = product::w2a16(&client, &unaligned, &weights, None, &out.matrix, strategy);
        assert!(
            m == 1 || matches!(refused, Err(KernelError::Plan { .. })),
            "{refused:?}"
        );
    }
}

#[rstest]
#[case::skinny(Family::Skinny)]
#[case::mma(Family::Mma)]
#[ignore = "needs a Hopper GPU"]
#[case::hopper_wgmma(Family::Wgmma)]
fn a_thousand_runs_give_the_same_bits(#[case] family: Family) {
    let client = client();
    let mut rng = rng(14);
    let (m, n, k) = (70, 200, 1000);
    let matrix = matrix(
        &mut rng,
        &layout(n, k, WeightCode::Ternary, ScaleGranularity::Row),
    );
    let x: Vec<f32> = floats(&mut rng, m * k, FloatType::BF16);
    for plan in half_plans(family) {
        let strategy = Strategy::Forced(plan);
        let weights = prepacked(&client, &matrix, FragmentOrder::Half);
        let x_device = float_matrix(&client, &x, [m, k], k, FloatType::BF16);
        let mut first = None;
        for run in 0..1000 {
            let out = Out::new(&client, [m, n], n, FloatType::BF16);
            product::w2a16(&client, &x_device, &weights, None, &out.matrix, strategy).unwrap();
            let found: Vec<u16> = out
                .read(&client)
                .iter()
                .map(|y| bf16::from_f32(*y).to_bits())
                .collect();
            let expected = first.get_or_insert_with(|| found.clone());
            assert!(*expected == found, "{plan:?}: run {run} differs");
        }
    }
}
