//! The product that quantises its own activations, against the quantiser and a product: equal in every
//! bit.
//!
//! A kernel takes a second or two to compile, one after the other, and some milliseconds to run. So a plan is
//! compiled for one [`Kind`] of operands, or two where K is what it has room for, and runs many shapes, and the
//! references of a kind share one plan: some 40 fused kernels, 5 other products, 3 quantisers, 5 kernels that
//! prepack and 2 of the selector.

use cubecl::client::Client;
use rand::RngExt;
use rand::rngs::StdRng;
use rstest::rstest;
use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};
use tritburn_kernels::product::cuda::wgmma::WgmmaBlueprint;
use tritburn_kernels::product::cuda::wgmma_fused::FusedBlueprint;
use tritburn_kernels::product::{self, ActivationType, MatmulProblem, Plan, Strategy};
use tritburn_kernels::quantize::activation::ActivationBlueprint;
use tritburn_kernels::{
    DeviceFacts, FloatMatrix, FloatType, FloatVector, FragmentOrder, KernelError, PrepackedWeights,
    QuantizedActivations, WeightOrder, quantize,
};

use crate::harness::*;
use crate::support::{client, prepacked};

/// What a kernel is compiled for beside its plan.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub dtype: FloatType,
    out: FloatType,
    code: WeightCode,
    bias: bool,
    /// Whether outputs are stored in pairs: rows of y start at even elements, and end there.
    pairs: bool,
}

pub const F32: Kind = Kind {
    dtype: FloatType::F32,
    out: FloatType::F32,
    code: WeightCode::Ternary,
    bias: true,
    pairs: false,
};
pub const F16: Kind = Kind {
    dtype: FloatType::F16,
    out: FloatType::F16,
    code: WeightCode::Int2,
    bias: false,
    pairs: true,
};
/// What the cases of the model have.
pub const BF16: Kind = Kind {
    dtype: FloatType::BF16,
    out: FloatType::BF16,
    code: WeightCode::Ternary,
    bias: false,
    pairs: true,
};
pub const BF16_BIAS: Kind = Kind {
    code: WeightCode::Int2,
    bias: true,
    pairs: false,
    ..BF16
};
pub const F16_TO_F32: Kind = Kind {
    out: FloatType::F32,
    code: WeightCode::Ternary,
    bias: true,
    ..F16
};

/// `[warpgroups, tiles, tokens, columns, stages, splits, shares]`
type Sizes = [usize; 7];

/// The plans of each kind. Together they cut clusters in every way and have every size of a cube, weights
/// resident and in a ring; the tests on the host say so.
const PLANS: [(Kind, &[Sizes]); 5] = [
    (
        F32,
        &[
            [2, 1, 32, 8, 3, 1, 1],
            [1, 2, 16, 4, 2, 4, 1],
            [2, 2, 16, 16, 5, 1, 2],
            [2, 1, 64, 8, 5, 2, 2],
            [4, 2, 32, 4, 3, 4, 2],
            [4, 1, 16, 20, 3, 1, 2],
        ],
    ),
    (
        F16,
        &[
            [4, 2, 16, 8, 3, 2, 1],
            [2, 1, 128, 4, 4, 1, 4],
            [2, 2, 128, 4, 3, 1, 8],
            [2, 1, 64, 8, 3, 2, 4],
            [4, 2, 16, 12, 3, 4, 2],
        ],
    ),
    (
        BF16,
        &[
            [1, 1, 16, 16, 16, 1, 1],
            [2, 2, 64, 4, 4, 4, 1],
            [4, 1, 64, 4, 4, 1, 2],
            [1, 1, 64, 8, 8, 2, 2],
            [2, 2, 16, 8, 8, 4, 2],
            [4, 1, 16, 12, 4, 1, 2],
            [4, 1, 16, 4, 4, 1, 8],
        ],
    ),
    (
        BF16_BIAS,
        &[
            [2, 2, 32, 8, 8, 2, 1],
            [1, 1, 32, 4, 2, 8, 1],
            [1, 2, 64, 8, 3, 1, 4],
        ],
    ),
    (
        F16_TO_F32,
        &[
            [4, 1, 16, 4, 4, 8, 1],
            [1, 2, 32, 8, 8, 1, 8],
            [4, 1, 128, 4, 2, 2, 4],
        ],
    ),
];

/// A plan of [`BF16`] whose cubes share both columns and tokens.
const CLUSTER: Sizes = [1, 1, 64, 8, 8, 2, 2];

/// Tokens, rows and columns around the edges of tiles, words and lines, for one cube and for 8 that share
/// the columns.
const SHAPES: [[usize; 3]; 16] = [
    [1, 1, 5],
    [2, 67, 129],
    [17, 64, 500],
    [128, 129, 512],
    [9, 1000, 385],
    [65, 131, 1024],
    [130, 513, 1100],
    [16, 40, 1000],
    [33, 260, 1900],
    [300, 258, 2048],
    [150, 100, 2001],
    [20, 300, 4000],
    [35, 200, 4096],
    [40, 100, 1536],
    [33, 140, 2560],
    [20, 70, 6144],
];

fn plan([warpgroups, tiles, tokens, columns, stages, splits, shares]: Sizes) -> FusedBlueprint {
    FusedBlueprint {
        warpgroups,
        tiles,
        tokens,
        columns,
        stages,
        splits,
        shares,
    }
}

fn forced(plan: FusedBlueprint) -> Strategy {
    Strategy::Forced(Plan::Fused(plan))
}

/// The plans of `kind` that rows of `k` columns can run with.
fn fitting(client: &Client, kind: Kind, sizes: &[Sizes], k: usize) -> Vec<FusedBlueprint> {
    let (device, steps) = (DeviceFacts::of(client), k.div_ceil(128));
    let plans = sizes.iter().copied().map(plan);
    plans
        .filter(|plan| plan.validate(steps, kind.dtype, &device).is_ok())
        .collect()
}

pub fn hopper(client: &Client) -> bool {
    let cuda = DeviceFacts::of(client).cuda;
    cuda.is_some_and(|cuda| cuda.capability == 90)
}

pub struct Case {
    kind: Kind,
    pub x: FloatMatrix,
    pub weights: PrepackedWeights,
    bias: Option<FloatVector>,
}

impl Case {
    pub fn new(client: &Client, rng: &mut StdRng, kind: Kind, shape: [usize; 3]) -> Self {
        Self::of(client, rng, kind, shape, |_| {})
    }

    /// A case whose activations `change` may spoil; rows are padded to whole lines. N becomes even where
    /// outputs are stored in pairs.
    pub fn of(
        client: &Client,
        rng: &mut StdRng,
        kind: Kind,
        [m, n, k]: [usize; 3],
        change: impl FnOnce(&mut [f32]),
    ) -> Self {
        let dtype = kind.dtype;
        let n = n.next_multiple_of(if kind.pairs { 2 } else { 1 });
        let scale = match (m + k) % 3 {
            0 => ScaleGranularity::Row,
            1 if n > 2 => ScaleGranularity::Segments {
                rows: vec![1, n - 1],
            },
            _ => ScaleGranularity::Tensor,
        };
        let layout = layout(n, k, kind.code, scale);
        let mut x = floats(rng, m * k, dtype);
        change(&mut x);
        let stride = k.next_multiple_of(16 / dtype.size()) + [0, 16][m % 2];
        let bias = kind.bias.then(|| floats(rng, n, kind.out));
        Self {
            kind,
            x: float_matrix(client, &x, [m, k], stride, dtype),
            weights: prepacked(client, &matrix(rng, &layout), FragmentOrder::Int8),
            bias: bias.map(|bias| float_vector(client, &bias, kind.out)),
        }
    }

    fn layout(&self) -> &PackedLayout {
        self.weights.layout()
    }

    /// An output whose rows start such that pairs are stored, or are not.
    pub fn out(&self, client: &Client) -> Out {
        let (m, n) = (self.x.rows(), self.layout().out_features());
        let stride = match self.kind.pairs {
            true => n + 2 * (m % 2),
            false => n + (n + 1) % 2,
        };
        Out::new(client, [m, n], stride, self.kind.out)
    }

    /// In two launches, by plans that every case shares.
    pub fn apart(&self, client: &Client) -> Vec<f32> {
        let (m, k) = (self.x.rows(), self.x.cols());
        let (codes, _) = empty(client, m * QuantizedActivations::words_per_row(k));
        let (scales, _) = empty(client, m);
        let codes = QuantizedActivations::new(m, k, codes, scales).expect("activations");
        let lanes = ActivationBlueprint {
            lanes: 64,
            cube_units: 256,
        };
        quantize::activation::launch_with(client, &self.x, &codes, Some(lanes)).unwrap();
        let product = Strategy::Forced(Plan::Wgmma(WgmmaBlueprint {
            warpgroups: 2,
            tiles: 1,
            tokens: 64,
            stages: 4,
            splits: 1,
            multicast: 1,
            group: 8,
        }));
        let out = self.out(client);
        let (bias, y) = (self.bias.as_ref(), &out.matrix);
        product::w2a8(client, &codes, &self.weights, bias, y, product).unwrap();
        out.read(client)
    }

    pub fn inside(&self, client: &Client, strategy: Strategy) -> Vec<f32> {
        let out = self.out(client);
        let (bias, y) = (self.bias.as_ref(), &out.matrix);
        product::w2a8_quantizing(client, &self.x, &self.weights, bias, y, strategy).unwrap();
        out.read(client)
    }

    pub fn assert_equal(&self, client: &Client, strategies: impl IntoIterator<Item = Strategy>) {
        let expected = self.apart(client);
        for strategy in strategies {
            let found = self.inside(client, strategy);
            let what = format!("{strategy:?}, {:?}, {:?}", self.x, self.layout());
            assert_bits(&found, &expected, &what);
        }
    }
}

#[test]
fn plans_cut_clusters_in_every_way_and_have_every_size() {
    let all: Vec<Sizes> = PLANS.iter().flat_map(|(_, sizes)| sizes.to_vec()).collect();
    for splits in [1, 2, 4, 8] {
        for shares in [1, 2, 4, 8].into_iter().filter(|n| n * splits <= 8) {
            let found = all.iter().any(|sizes| sizes[5..] == [splits, shares]);
            assert!(found, "{splits} x {shares}");
        }
    }
    let sizes: [(usize, &[usize]); 3] = [(0, &[1, 2, 4]), (1, &[1, 2]), (2, &[16, 32, 64, 128])];
    for (at, wanted) in sizes {
        for &size in wanted {
            assert!(all.iter().any(|sizes| sizes[at] == size), "{at}: {size}");
        }
    }
    for whole in [false, true] {
        assert!(all.iter().any(|sizes| (sizes[4] >= sizes[3]) == whole));
    }
    assert!(PLANS[2].1.contains(&CLUSTER));
    // Warps that share a token: as many as it has chunks of 512 columns, or not, and more than that.
    let shared = |&[warpgroups, _, tokens, columns, _, _, shares]: &Sizes| {
        let parts = (4 * warpgroups * shares / tokens).max(1);
        (parts > 1).then_some((columns / 4 % parts > 0, parts > columns / 4))
    };
    let kinds: Vec<_> = all.iter().filter_map(shared).collect();
    for kind in [(true, false), (true, true)] {
        assert!(kinds.contains(&kind), "{kind:?}: {kinds:?}");
    }
}

/// Every plan with its operands, at awkward shapes and at random ones.
#[rstest]
#[ignore = "needs a Hopper GPU"]
fn plans_of_every_kind_give_the_bits_of_two_launches(#[values(0, 1, 2, 3, 4)] number: usize) {
    let client = client();
    let (kind, sizes) = PLANS[number];
    let mut rng = rng(31 + number);
    let mut shapes = SHAPES.to_vec();
    for case in 0..10 {
        let k = match case % 3 {
            0 => 16 * rng.random_range(1..=150),
            1 => 128 * rng.random_range(1..=20),
            _ => rng.random_range(1..=2400),
        };
        // Not one token: a single row is stored in pairs whatever its stride, by a kernel of its own.
        shapes.push([rng.random_range(2..=300), rng.random_range(1..=600), k]);
    }
    let mut runs = vec![0; sizes.len()];
    for shape in shapes {
        let plans = fitting(&client, kind, sizes, shape[2]);
        for (count, &sizes) in runs.iter_mut().zip(sizes) {
            *count += usize::from(plans.contains(&plan(sizes)));
        }
        if !plans.is_empty() {
            let case = Case::new(&client, &mut rng, kind, shape);
            case.assert_equal(&client, plans.into_iter().map(forced));
        }
    }
    // No plan is without shapes of which it can run several.
    assert!(runs.iter().all(|&count| count >= 4), "{runs:?}");
}

/// The plans of the selector itself, at shapes that it was written for.
#[rstest]
#[ignore = "needs a Hopper GPU"]
fn what_the_model_ranks_first_gives_the_bits_of_two_launches(
    #[values([1024, 512, 2048], [1024, 2048, 512], [16, 4096, 4096], [64, 2560, 2560])]
    shape: [usize; 3],
) {
    let client = client();
    let cuda = DeviceFacts::of(&client).cuda.expect("a Hopper GPU");
    let case = Case::new(&client, &mut rng(shape[0]), BF16, shape);
    let activations = ActivationType::Quantized(FloatType::BF16);
    let order = WeightOrder::Fragments(FragmentOrder::Int8);
    let problem = MatmulProblem::new(shape[0], case.layout(), activations, order);
    let first = FusedBlueprint::new(&problem, &cuda).expect("a plan");
    // The selector takes the same: no kernel more.
    case.assert_equal(&client, [forced(first), Strategy::Auto]);
}

#[rstest]
#[ignore = "needs a Hopper GPU"]
fn rows_with_nan_or_infinity_become_nan_and_leave_others_alone(
    #[values(0, 1, 2, 3, 4)] number: usize,
) {
    let client = client();
    let (kind, sizes) = PLANS[number];
    // Short rows for plans with few columns, long ones to be shared by 8 cubes.
    for k in [400, 1024, 1030, 1900, 2048] {
        let spoil = |x: &mut [f32]| {
            x[3 * k] = f32::NAN;
            x[17 * k + k - 1] = f32::INFINITY;
            x[33 * k + k / 2] = f32::NEG_INFINITY;
            x[69 * k + 129] = -f32::NAN;
            // All zeros, and all too small to be told from zeros.
            x[5 * k..6 * k].fill(0.0);
            x[6 * k..7 * k].fill(1e-7);
        };
        let case = Case::of(&client, &mut rng(5), kind, [70, 100, k], spoil);
        let expected = case.apart(&client);
        for plan in fitting(&client, kind, sizes, k) {
            let y = case.inside(&client, forced(plan));
            assert_bits(&y, &expected, &format!("{plan:?} {k}"));
            for (row, y) in y.chunks(100).enumerate() {
                let lost = [3, 17, 33, 69].contains(&row);
                let right = y.iter().all(|y| y.is_nan() == lost);
                assert!(right, "{plan:?} {k}: row {row}");
            }
        }
    }
}

#[test]
#[ignore = "needs a Hopper GPU"]
fn a_thousand_runs_give_the_same_bits() {
    let client = client();
    let case = Case::new(&client, &mut rng(14), BF16, [150, 300, 1100]);
    let expected = case.apart(&client);
    for run in 0..1000 {
        let found = case.inside(&client, forced(plan(CLUSTER)));
        assert_bits(&found, &expected, &format!("run {run}"));
    }
}

#[test]
#[ignore = "needs a Hopper GPU"]
fn no_tokens_launch_nothing() {
    let client = client();
    let layout = layout(64, 256, WeightCode::Ternary, ScaleGranularity::Row);
    let weights = prepacked(&client, &matrix(&mut rng(1), &layout), FragmentOrder::Int8);
    let handle = client.create_from_slice(&[0; 16]);
    let empty = |cols| FloatMatrix::new(handle.clone(), [0, cols], [cols, 1], FloatType::BF16);
    let (x, y) = (empty(256).unwrap(), empty(64).unwrap());
    for strategy in [forced(plan(CLUSTER)), Strategy::Auto] {
        product::w2a8_quantizing(&client, &x, &weights, None, &y, strategy).unwrap();
    }
}

/// Forced where it cannot run, the plan is refused; left to the selector, such a product takes two
/// launches.
#[test]
fn what_the_kernel_cannot_run_is_refused_or_done_in_two_launches() {
    let client = client();
    let run = |k: usize, stride: usize, strategy| {
        let layout = layout(40, k, WeightCode::Ternary, ScaleGranularity::Row);
        let mut rng = rng(k);
        let matrix = matrix(&mut rng, &layout);
        let x = floats(&mut rng, 20 * k, FloatType::BF16);
        let x = float_matrix(&client, &x, [20, k], stride, FloatType::BF16);
        let weights = prepacked(&client, &matrix, FragmentOrder::Int8);
        let y = Out::new(&client, [20, 40], 40, FloatType::BF16);
        product::w2a8_quantizing(&client, &x, &weights, None, &y.matrix, strategy)
    };
    let forced = forced(plan(CLUSTER));
    // Rows that start anywhere, rows longer than the plan has room for, and too short to share.
    for (k, stride) in [(1000, 1001), (2100, 2104), (100, 104)] {
        let refused = run(k, stride, forced);
        assert!(matches!(refused, Err(KernelError::Plan { .. })), "{k}");
    }
    assert_eq!(run(1000, 1001, Strategy::Auto), Ok(()));
    let expected = match hopper(&client) {
        true => Ok(()),
        false => Err(()),
    };
    assert_eq!(run(1000, 1000, forced).map_err(|_| ()), expected);
}
