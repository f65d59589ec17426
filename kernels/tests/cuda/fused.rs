//! The product that quantises its own activations, against the quantiser and a product: equal in every
//! bit.

use cubecl::client::Client;
use rand::RngExt;
use rand::rngs::StdRng;
use rstest::rstest;
use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};
use tritburn_kernels::gemm::cuda::wgmma::fused::FusedBlueprint;
use tritburn_kernels::matmul::{self, Plan, Strategy};
use tritburn_kernels::{
    DeviceFacts, FloatMatrix, FloatType, FloatVector, FragmentOrder, KernelError, PrepackedWeights,
    QuantizedActivations, quantize,
};

use crate::harness::*;
use crate::support::{client, prepacked};

/// Ways to cut a cluster of up to 8 cubes.
const CLUSTERS: [(usize, usize); 10] = [
    (1, 1),
    (2, 1),
    (4, 1),
    (8, 1),
    (1, 2),
    (2, 2),
    (4, 2),
    (1, 4),
    (2, 4),
    (1, 8),
];

fn hopper(client: &Client) -> bool {
    let cuda = DeviceFacts::of(client).cuda;
    cuda.is_some_and(|cuda| cuda.capability == 90)
}

/// Every which of the plans a case runs: each is a kernel to compile, and prime to the ways that a list of
/// plans is made of.
const STEP: usize = 7;

/// Plans for rows of `k` columns: every way to cut a cluster, every size of a cube, weights resident and
/// in a ring.
fn plans(client: &Client, k: usize, dtype: FloatType) -> Vec<FusedBlueprint> {
    let device = DeviceFacts::of(client);
    let steps = k.div_ceil(128);
    let cubes = [
        (1, 1, 16),
        (2, 1, 32),
        (1, 2, 64),
        (2, 2, 64),
        (4, 1, 128),
        (2, 1, 128),
        (4, 2, 16),
        (4, 2, 64),
    ];
    let mut all = Vec::new();
    for (splits, shares) in CLUSTERS {
        for (warpgroups, tiles, tokens) in cubes {
            for short in [false, true] {
                let mut plan = FusedBlueprint {
                    warpgroups,
                    tiles,
                    tokens,
                    columns: 4,
                    stages: 2,
                    splits,
                    shares,
                };
                plan.columns = plan.columns_of(steps);
                if !short {
                    plan.stages = plan.columns.min(16);
                }
                if plan.validate(steps, dtype, &device).is_ok() {
                    all.push(plan);
                }
            }
        }
    }
    all
}

struct Case {
    x: FloatMatrix,
    weights: PrepackedWeights,
    bias: Option<FloatVector>,
    out: FloatType,
}

impl Case {
    fn new(client: &Client, rng: &mut StdRng, m: usize, layout: &PackedLayout) -> Self {
        Self::of(client, rng, m, layout, FloatType::BF16, |_| {})
    }

    /// A case whose activations `change` may spoil; rows are padded to whole lines.
    fn of(
        client: &Client,
        rng: &mut StdRng,
        m: usize,
        layout: &PackedLayout,
        dtype: FloatType,
        change: impl FnOnce(&mut [f32]),
    ) -> Self {
        let (n, k) = (layout.out_features(), layout.in_features());
        let mut x = floats(rng, m * k, dtype);
        change(&mut x);
        let stride = k.next_multiple_of(16 / dtype.size()) + [0, 16][m % 2];
        let bias = rng.random::<bool>().then(|| floats(rng, n, dtype));
        Self {
            x: float_matrix(client, &x, [m, k], stride, dtype),
            weights: prepacked(client, &matrix(rng, layout), FragmentOrder::Int8),
            bias: bias.map(|bias| float_vector(client, &bias, dtype)),
            out: dtype,
        }
    }

    fn out(&self, client: &Client) -> Out {
        let (m, n) = (self.x.rows(), self.weights.layout().out_features());
        Out::new(client, [m, n], n + m % 3, self.out)
    }

    /// In two launches.
    fn apart(&self, client: &Client) -> Vec<f32> {
        let (m, k) = (self.x.rows(), self.x.cols());
        let (codes, _) = empty(client, m * QuantizedActivations::words_per_row(k));
        let (scales, _) = empty(client, m);
        let codes = QuantizedActivations::new(m, k, codes, scales).expect("activations");
        quantize::activation::launch(client, &self.x, &codes).unwrap();
        let out = self.out(client);
        let bias = self.bias.as_ref();
        matmul::w2a8(
            client,
            &codes,
            &self.weights,
            bias,
            &out.matrix,
            Strategy::Auto,
        )
        .unwrap();
        out.read(client)
    }

    fn inside(&self, client: &Client, strategy: Strategy) -> Vec<f32> {
        let out = self.out(client);
        let (bias, y) = (self.bias.as_ref(), &out.matrix);
        matmul::w2a8_quantizing(client, &self.x, &self.weights, bias, y, strategy).unwrap();
        out.read(client)
    }

    fn assert_equal(&self, client: &Client, strategies: impl IntoIterator<Item = Strategy>) {
        let expected = self.apart(client);
        for strategy in strategies {
            let found = self.inside(client, strategy);
            let what = format!("{strategy:?}, {:?}, {:?}", self.x, self.weights.layout());
            assert_bits(&found, &expected, &what);
        }
    }
}

fn forced(plans: Vec<FusedBlueprint>) -> impl Iterator<Item = Strategy> {
    let plans = plans
        .into_iter()
        .map(|plan| Strategy::Forced(Plan::Fused(plan)));
    plans.chain([Strategy::Auto])
}

/// Plans of every kind with every type, at tokens, rows and columns around the edges of tiles, words and lines.
#[rstest]
fn plans_of_every_kind_give_the_bits_of_two_launches(
    #[values(FloatType::F32, FloatType::F16, FloatType::BF16)] dtype: FloatType,
    #[values([1, 1, 5], [2, 67, 129], [17, 64, 500], [65, 131, 1024], [130, 513, 1100], [300, 258, 2048])]
    shape: [usize; 3],
) {
    let client = client();
    if !hopper(&client) {
        return;
    }
    let [m, n, k] = shape;
    let mut rng = rng(m * 31 + k);
    let code = CODES[m % 2];
    let scale = match k % 3 {
        0 => ScaleGranularity::Row,
        1 if n > 2 => ScaleGranularity::Segments {
            rows: vec![1, n - 1],
        },
        _ => ScaleGranularity::Tensor,
    };
    let layout = layout(n, k, code, scale);
    let case = Case::of(&client, &mut rng, m, &layout, dtype, |_| {});
    let plans = plans(&client, k, dtype).into_iter();
    let some: Vec<_> = plans
        .skip((m + dtype.size()) % STEP)
        .step_by(STEP)
        .collect();
    assert!(!some.is_empty());
    case.assert_equal(&client, forced(some));
}

/// Plans by turns, at many shapes.
#[test]
fn random_shapes_give_the_bits_of_two_launches() {
    let client = client();
    if !hopper(&client) {
        return;
    }
    let mut rng = rng(31);
    for case in 0..48 {
        let dtype = FLOATS[case % 3];
        let m = rng.random_range(1..=300);
        let n = rng.random_range(1..=600);
        let k = match case % 4 {
            0 => 16 * rng.random_range(1..=150),
            1 => 128 * rng.random_range(1..=20),
            _ => rng.random_range(1..=2400),
        };
        let layout = layout(n, k, CODES[case % 2], ScaleGranularity::Row);
        let of = Case::of(&client, &mut rng, m, &layout, dtype, |_| {});
        let mut some = plans(&client, k, dtype);
        let mut picked = Vec::new();
        while picked.len() < 4 && !some.is_empty() {
            picked.push(some.swap_remove(rng.random_range(0..some.len())));
        }
        of.assert_equal(&client, forced(picked));
    }
}

/// The plans of the selector itself, at the shapes that it was written for and at the model's.
#[rstest]
fn what_the_model_ranks_first_gives_the_bits_of_two_launches(
    #[values([1024, 512, 2048], [1024, 2048, 512], [16, 4096, 4096], [128, 2560, 6912])]
    shape: [usize; 3],
) {
    let client = client();
    let Some(cuda) = DeviceFacts::of(&client).cuda.filter(|_| hopper(&client)) else {
        return;
    };
    let [m, n, k] = shape;
    let layout = layout(n, k, WeightCode::Ternary, ScaleGranularity::Tensor);
    let case = Case::new(&client, &mut rng(m), m, &layout);
    let problem = matmul::MatmulProblem::new(
        m,
        &layout,
        FloatType::BF16.into(),
        Some(FragmentOrder::Int8),
    );
    let mut plans = FusedBlueprint::ranked(&problem, &cuda);
    plans.truncate(20);
    case.assert_equal(&client, forced(plans));
}

#[rstest]
fn rows_with_nan_or_infinity_become_nan_and_leave_others_alone(
    #[values(FloatType::F32, FloatType::F16, FloatType::BF16)] dtype: FloatType,
) {
    let client = client();
    if !hopper(&client) {
        return;
    }
    let (m, n, k) = (70, 100, 1030);
    let layout = layout(n, k, WeightCode::Ternary, ScaleGranularity::Row);
    let spoil = |x: &mut [f32]| {
        x[3 * k] = f32::NAN;
        x[17 * k + k - 1] = f32::INFINITY;
        x[33 * k + 600] = f32::NEG_INFINITY;
        x[69 * k + 129] = -f32::NAN;
        // All zeros, and all too small to be told from zeros.
        x[5 * k..6 * k].fill(0.0);
        x[6 * k..7 * k].fill(1e-7);
    };
    let case = Case::of(&client, &mut rng(5), m, &layout, dtype, spoil);
    let some: Vec<_> = plans(&client, k, dtype).into_iter().step_by(STEP).collect();
    for strategy in forced(some.clone()) {
        let y = case.inside(&client, strategy);
        for (row, y) in y.chunks(n).enumerate() {
            let lost = [3, 17, 33, 69].contains(&row);
            assert!(
                y.iter().all(|y| y.is_nan() == lost),
                "{strategy:?}: row {row}"
            );
        }
    }
    case.assert_equal(&client, forced(some));
}

#[test]
fn a_thousand_runs_give_the_same_bits() {
    let client = client();
    if !hopper(&client) {
        return;
    }
    let (m, n, k) = (150, 300, 1100);
    let layout = layout(n, k, WeightCode::Ternary, ScaleGranularity::Row);
    let case = Case::new(&client, &mut rng(14), m, &layout);
    let expected = case.apart(&client);
    for plan in plans(&client, k, FloatType::BF16).into_iter().step_by(STEP) {
        let strategy = Strategy::Forced(Plan::Fused(plan));
        for run in 0..1000 {
            let found = case.inside(&client, strategy);
            assert_bits(&found, &expected, &format!("{plan:?}: run {run}"));
        }
    }
}

#[test]
fn no_tokens_launch_nothing() {
    let client = client();
    if !hopper(&client) {
        return;
    }
    let layout = layout(64, 256, WeightCode::Ternary, ScaleGranularity::Row);
    let weights = prepacked(&client, &matrix(&mut rng(1), &layout), FragmentOrder::Int8);
    let handle = client.create_from_slice(&[0; 16]);
    let empty = |cols| FloatMatrix::new(handle.clone(), [0, cols], [cols, 1], FloatType::BF16);
    let (x, y) = (empty(256).unwrap(), empty(64).unwrap());
    let plans = plans(&client, 256, FloatType::BF16).into_iter();
    for strategy in forced(plans.take(2).collect()) {
        matmul::w2a8_quantizing(&client, &x, &weights, None, &y, strategy).unwrap();
    }
}

/// Forced where it cannot run, the plan is refused; left to the selector, such a product takes two
/// launches.
#[test]
fn what_the_kernel_cannot_run_is_refused_or_done_in_two_launches() {
    let client = client();
    let plan = FusedBlueprint {
        warpgroups: 2,
        tiles: 1,
        tokens: 64,
        columns: 4,
        stages: 4,
        splits: 2,
        shares: 2,
    };
    let run = |k: usize, stride: usize, strategy| {
        let layout = layout(40, k, WeightCode::Ternary, ScaleGranularity::Row);
        let mut rng = rng(k);
        let matrix = matrix(&mut rng, &layout);
        let x = floats(&mut rng, 20 * k, FloatType::BF16);
        let x = float_matrix(&client, &x, [20, k], stride, FloatType::BF16);
        let weights = prepacked(&client, &matrix, FragmentOrder::Int8);
        let y = Out::new(&client, [20, 40], 40, FloatType::BF16);
        matmul::w2a8_quantizing(&client, &x, &weights, None, &y.matrix, strategy)
    };
    let forced = Strategy::Forced(Plan::Fused(plan));
    // Rows that start anywhere, rows longer than the plan has room for, and too short to share.
    for (k, stride) in [(1000, 1001), (1100, 1104), (100, 104)] {
        let refused = run(k, stride, forced);
        assert!(matches!(refused, Err(KernelError::Plan { .. })), "{k}");
        assert_eq!(run(k, stride, Strategy::Auto), Ok(()));
    }
    let expected = match hopper(&client) {
        true => Ok(()),
        false => Err(()),
    };
    assert_eq!(run(1000, 1000, forced).map_err(|_| ()), expected);
}
