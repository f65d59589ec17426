//! Plans of the GEMMs with `cp.async` to force: sizes that reach every branch, and those that `new`
//! picks.

use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};
use tritburn_kernels::device::CudaFacts;
use tritburn_kernels::product::cuda::mma::MmaBlueprint;
use tritburn_kernels::product::cuda::wmma::{WmmaBlueprint, WmmaFragment};
use tritburn_kernels::product::{ActivationType, MatmulProblem, Plan};
use tritburn_kernels::{FragmentOrder, MmaType, WeightOrder};

/// An A100 and an Orin: what `new` is asked for, whatever the plans run on.
const DEVICES: [CudaFacts; 2] = [
    CudaFacts {
        capability: 80,
        multiprocessors: 108,
    },
    CudaFacts {
        capability: 87,
        multiprocessors: 16,
    },
];

fn problem(m: usize) -> MatmulProblem {
    let layout = PackedLayout::new(4096, 4096, WeightCode::Ternary, ScaleGranularity::Row);
    let layout = layout.expect("a valid layout");
    MatmulProblem::new(
        m,
        &layout,
        ActivationType::Int8,
        WeightOrder::Fragments(FragmentOrder::Int8),
    )
}

/// Keeps one of each.
fn distinct(plans: impl IntoIterator<Item = Plan>) -> Vec<Plan> {
    let mut all = Vec::new();
    for plan in plans {
        if !all.contains(&plan) {
            all.push(plan);
        }
    }
    all
}

/// Warp products, for int8 and half activations.
pub fn mma_plans() -> Vec<Plan> {
    // Rings of 2 to 6 stages; copies that fill passes exactly, that leave units idle, and of an odd
    // number of warps.
    let shapes = [
        (1, 1, 1, 1, 2),
        (4, 1, 1, 2, 6),
        (3, 1, 1, 3, 3),
        (1, 4, 2, 1, 4),
        (2, 2, 4, 8, 3),
        (4, 2, 2, 8, 2),
        (1, 2, 8, 2, 4),
    ];
    let forced = shapes.map(
        |(warps_n, warps_m, strips, token_tiles, stages)| MmaBlueprint {
            warps_n,
            warps_m,
            strips,
            token_tiles,
            stages,
            group: 3,
        },
    );
    let picked = [8, 64, 8192].into_iter().flat_map(|m| {
        // The ring of half types is the shorter one, which int8 fits too.
        DEVICES.map(|cuda| MmaBlueprint::new(&problem(m), MmaType::Bf16, &cuda))
    });
    distinct(forced.into_iter().chain(picked).map(Plan::Mma))
}

/// WMMA in its three fragment shapes, for int8 activations.
pub fn wmma_plans() -> Vec<Plan> {
    let forced = |fragment: WmmaFragment| {
        // One warp with as little as it can have, an odd number of warps that copy through registers, warps
        // along both sides.
        let narrow = 16usize.div_ceil(fragment.n());
        [
            (1, 1, narrow, 1, 3),
            (3, 1, narrow, 1, 5),
            (2, 2, 2 * narrow, 2, 4),
        ]
        .map(
            |(warps_n, warps_m, tiles_n, tiles_m, stages)| WmmaBlueprint {
                fragment,
                warps_n,
                warps_m,
                tiles_n,
                tiles_m,
                stages,
                group: 2,
                async_copies: warps_n != 3,
            },
        )
    };
    let picked =
        |fragment| [17, 8192].map(|m| WmmaBlueprint::with(&problem(m), fragment, &DEVICES[0]));
    let all = WmmaFragment::ALL
        .into_iter()
        .flat_map(|fragment| forced(fragment).into_iter().chain(picked(fragment)));
    distinct(all.map(Plan::Wmma))
}
