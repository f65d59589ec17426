//! Devices, prepacked operands and plans.

use cubecl::Device;
use cubecl::client::Client;
use cubecl::server::Handle;
use tritburn_formats::matrix::PackedMatrix;
use tritburn_kernels::product::Plan;
use tritburn_kernels::product::cuda::skinny::SkinnyBlueprint;
use tritburn_kernels::product::cuda::wgmma::WgmmaBlueprint;
use tritburn_kernels::{FloatMatrix, FloatType, FragmentOrder, PrepackedWeights, prepack};

use crate::harness::*;
use crate::plans::{mma_plans, wmma_plans};

pub fn client() -> Client {
    Device::Cuda(Default::default()).client()
}

pub fn prepacked(client: &Client, matrix: &PackedMatrix, order: FragmentOrder) -> PrepackedWeights {
    prepacked_words(client, matrix, order).0
}

/// The operand, and the handle of its words.
pub fn prepacked_words(
    client: &Client,
    matrix: &PackedMatrix,
    order: FragmentOrder,
) -> (PrepackedWeights, Handle) {
    let layout = matrix.layout().clone();
    let fragments = PrepackedWeights::fragments(&layout, order).expect("a layout that prepacks");
    let (words, handle) = empty(client, fragments.word_count());
    let (scales, _) = empty(client, layout.out_features());
    let out = PrepackedWeights::new(layout, order, words, scales).expect("buffers that fit");
    prepack::launch(client, &weights(client, matrix), &out).expect("a launch");
    (out, handle)
}

/// A kernel of the tensor-core family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Skinny,
    Mma,
    Wmma,
    Wgmma,
}

/// Plans of a family: every shape of tile.
pub fn plans(family: Family) -> Vec<Plan> {
    match family {
        Family::Skinny => skinny_plans(),
        Family::Mma => mma_plans(),
        Family::Wmma => wmma_plans(),
        Family::Wgmma => wgmma_plans(),
    }
}

/// Those that multiply half-precision activations: tiles of half the tokens, for shared memory.
pub fn half_plans(family: Family) -> Vec<Plan> {
    let halve = |plan| match plan {
        Plan::Wgmma(plan) => {
            let tokens = plan.tokens.min(128);
            let stage_bytes = 256 * tokens + 32 * plan.rows();
            Some(Plan::Wgmma(WgmmaBlueprint {
                tokens,
                stages: plan.stages.min((200 << 10) / stage_bytes).max(4),
                ..plan
            }))
        }
        Plan::Wmma(_) => None,
        // These want rows at multiples of 16 bytes, and have a test of their own.
        plan if is_per_warp(&plan) => None,
        other => Some(other),
    };
    let mut halved = Vec::new();
    for plan in plans(family).into_iter().filter_map(halve) {
        if !halved.contains(&plan) {
            halved.push(plan);
        }
    }
    halved
}

/// Whether each warp of `plan` brings its own activations.
pub fn is_per_warp(plan: &Plan) -> bool {
    matches!(plan, Plan::Skinny(plan) if plan.per_warp)
}

fn skinny_plans() -> Vec<Plan> {
    let shapes = [
        (1, 8, 1, 2, 16),
        (2, 4, 8, 4, 16),
        (4, 2, 16, 2, 4),
        (1, 1, 4, 1, 8),
        (2, 1, 1, 3, 3),
        (1, 10, 1, 1, 10),
        (3, 5, 3, 2, 10),
        (2, 3, 16, 1, 3),
        (1, 8, 4, 1, 8),
    ];
    let shared = shapes.map(|(strips, splits, tokens, ahead, chunk)| SkinnyBlueprint {
        strips,
        splits,
        tokens,
        ahead,
        chunk,
        per_warp: false,
        quantizes: false,
    });
    // One round of column tiles: of up to 20,480, 2,048 and 2,560 columns.
    let per_warp = [(1, 20, 8), (2, 4, 4), (1, 10, 2)];
    let per_warp = per_warp.map(|(strips, splits, ahead)| SkinnyBlueprint {
        strips,
        ..SkinnyBlueprint::one_round(splits, ahead)
    });
    let all = shared.into_iter().chain(per_warp);
    all.map(Plan::Skinny).collect()
}

fn wgmma_plans() -> Vec<Plan> {
    // (warpgroups, tiles, tokens, stages, splits, multicast)
    let shapes = [
        (2, 2, 128, 4, 1, 1),
        (2, 1, 256, 4, 1, 1),
        (1, 1, 32, 8, 1, 1),
        (1, 2, 64, 5, 1, 1),
        (2, 1, 64, 6, 2, 1),
        (1, 1, 16, 8, 4, 1),
        (2, 1, 128, 4, 8, 1),
        (2, 2, 64, 4, 4, 1),
        (1, 2, 16, 8, 4, 1),
        (2, 2, 128, 4, 1, 2),
        (2, 1, 128, 5, 1, 2),
        (2, 2, 32, 8, 1, 2),
        (2, 1, 256, 4, 1, 2),
        (2, 1, 16, 7, 1, 2),
    ];
    let plan = |(warpgroups, tiles, tokens, stages, splits, multicast)| {
        Plan::Wgmma(WgmmaBlueprint {
            warpgroups,
            tiles,
            tokens,
            stages,
            splits,
            multicast,
            group: 3,
        })
    };
    shapes.map(plan).to_vec()
}

/// As [`float_matrix`], 16 bytes into a buffer that holds NaN elsewhere.
pub fn shifted_matrix(
    client: &Client,
    data: &[f32],
    [rows, cols]: [usize; 2],
    stride: usize,
    dtype: FloatType,
) -> FloatMatrix {
    let ahead = vec![PADDING; 16 / dtype.size()];
    let all = [ahead, padded(data, cols, stride)].concat();
    let handle = upload(client, &all, dtype).offset_start(16);
    FloatMatrix::new(handle, [rows, cols], [stride, 1], dtype).expect("a valid matrix")
}
