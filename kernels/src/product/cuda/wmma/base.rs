//! Plan of the WMMA GEMM.

use crate::device::{CudaFacts, DeviceFacts};
use crate::error::KernelError;
use crate::prepack::TILE_COLS;
use crate::product::MatmulProblem;
use crate::product::cuda::stage::{Copies, RowSpacing, STRIP_ROWS, StageShape};

/// The shape of a WMMA product: tokens × weight rows × columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WmmaFragment {
    /// 8 tokens, 32 weight rows, 16 columns.
    M8N32K16,
    /// 32 tokens, 8 weight rows, 16 columns.
    M32N8K16,
    /// 16 tokens, 16 weight rows, 16 columns.
    M16N16K16,
}

impl WmmaFragment {
    /// All shapes.
    pub const ALL: [Self; 3] = [Self::M8N32K16, Self::M32N8K16, Self::M16N16K16];

    /// Tokens.
    pub const fn m(self) -> usize {
        match self {
            Self::M8N32K16 => 8,
            Self::M32N8K16 => 32,
            Self::M16N16K16 => 16,
        }
    }

    /// Weight rows.
    pub const fn n(self) -> usize {
        match self {
            Self::M8N32K16 => 32,
            Self::M32N8K16 => 8,
            Self::M16N16K16 => 16,
        }
    }

    /// Columns.
    pub const fn k(self) -> usize {
        16
    }

    /// Registers of a unit for the two operands of one WMMA product.
    const fn operand_registers(self) -> (usize, usize) {
        match self {
            Self::M8N32K16 => (1, 4),
            Self::M32N8K16 => (4, 1),
            Self::M16N16K16 => (2, 2),
        }
    }
}

/// The resolved plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WmmaBlueprint {
    /// Shape of the fragments.
    pub fragment: WmmaFragment,
    /// Warps of a cube along the weight rows.
    pub warps_n: usize,
    /// Warps of a cube along the tokens.
    pub warps_m: usize,
    /// Fragments of a warp along the weight rows.
    pub tiles_n: usize,
    /// Fragments of a warp along the tokens.
    pub tiles_m: usize,
    /// Column tiles in the ring of shared memory.
    pub stages: usize,
    /// Token tiles of cubes that run side by side, for the L2 cache.
    pub group: usize,
    /// Whether copies are asynchronous (`cp.async`, compute capability 8.0 and up); otherwise they pass
    /// through registers.
    pub async_copies: bool,
}

/// Cycles of a step beside its products: barrier, and decoding through shared memory.
const STEP: usize = 400;
/// Cycles of a tile beside its steps: filling the ring, storing outputs.
const TILE: usize = 3_000;
/// Registers that a multiprocessor has for its cubes.
const REGISTERS: usize = 1 << 16;

impl WmmaBlueprint {
    /// Deepest ring.
    const MAX_STAGES: usize = 4;

    /// Candidates of `(warps_n, warps_m, weight rows, tokens)` of a cube.
    const SIZES: [(usize, usize, usize, usize); 7] = [
        (2, 2, 128, 128),
        (2, 2, 128, 64),
        (4, 1, 128, 32),
        (2, 2, 64, 64),
        (2, 1, 64, 32),
        (4, 1, 128, 8),
        (2, 1, 64, 8),
    ];

    /// The plan for `problem`: the fragments and the tile that a simple model of the device
    /// predicts to be fastest.
    pub fn new(problem: &MatmulProblem, cuda: &CudaFacts) -> Self {
        let fragments = WmmaFragment::ALL.into_iter();
        let plans = fragments.map(|fragment| Self::with(problem, fragment, cuda));
        let best = plans.min_by_key(|plan| plan.cycles(problem, cuda));
        best.expect("there are fragments")
    }

    /// The plan for `problem` with `fragment`.
    pub fn with(problem: &MatmulProblem, fragment: WmmaFragment, cuda: &CudaFacts) -> Self {
        let best = Self::candidates(fragment, cuda).min_by_key(|plan| plan.cycles(problem, cuda));
        best.expect("small sizes fit every GPU")
    }

    /// The candidates that are made of whole fragments and fit the shared memory of `cuda`.
    fn candidates(fragment: WmmaFragment, cuda: &CudaFacts) -> impl Iterator<Item = Self> {
        let plans = Self::SIZES.map(|size| Self::of(fragment, size, cuda));
        let room = Self::shared_room(cuda);
        plans
            .into_iter()
            .filter(move |plan| plan.tiles_m > 0 && plan.shared_bytes() <= room)
    }

    /// Shared memory of a cube by compute capability, in bytes.
    const fn shared_room(cuda: &CudaFacts) -> usize {
        match cuda.capability {
            72 => 98_304,
            75 => 65_536,
            80 | 87 | 90 | 100 => 166_912,
            _ => 101_376,
        }
    }

    fn of(
        fragment: WmmaFragment,
        (warps_n, warps_m, rows, tokens): (usize, usize, usize, usize),
        cuda: &CudaFacts,
    ) -> Self {
        let mut plan = Self {
            fragment,
            warps_n,
            warps_m,
            tiles_n: rows / warps_n / fragment.n(),
            tiles_m: tokens / warps_m / fragment.m(),
            stages: 0,
            group: 8,
            async_copies: cuda.is_ampere(),
        };
        let ring = Self::shared_room(cuda).saturating_sub(plan.shared_bytes());
        plan.stages = (ring / plan.shape().bytes()).clamp(3, Self::MAX_STAGES);
        plan
    }

    /// Estimate of the product's cycles, comparable to
    /// [`MmaBlueprint`](crate::product::cuda::mma::MmaBlueprint)'s.
    ///
    /// Orin (compute capability 8.7) could run either. Here decoded weights are stored to shared
    /// memory, and fragments are loaded from it; `mma` decodes into registers. At 512×4096×4096 the
    /// models estimate 519,616 cycles for WMMA and 298,528 for `mma`, and at no shape fewer for
    /// WMMA, so Orin runs `mma`.
    pub(crate) fn cycles(&self, problem: &MatmulProblem, cuda: &CudaFacts) -> usize {
        let tiles = problem.n.div_ceil(self.rows()) * problem.m.div_ceil(self.tokens());
        let waves = tiles.div_ceil(cuda.multiprocessors.max(1) as usize);
        // Fragments are loaded from shared memory, whose 128 bytes per cycle bound the products.
        let fragments = self.warps_n
            * self.warps_m
            * (self.tiles_n * self.fragment.n() + self.tiles_m * self.fragment.m());
        let loads = fragments * TILE_COLS / 128;
        // int8 multiply-adds per cycle and multiprocessor.
        let rate = match cuda.capability {
            80 | 87 | 90 => 2048,
            _ => 1024,
        };
        let products = self.rows() * self.tokens() * TILE_COLS / rate;
        let steps = problem.k.div_ceil(TILE_COLS);
        waves * (steps * (products + loads + STEP) + TILE)
    }

    /// Weight rows of a cube.
    pub const fn rows(&self) -> usize {
        self.warps_n * self.tiles_n * self.fragment.n()
    }

    /// Tokens of a cube.
    pub const fn tokens(&self) -> usize {
        self.warps_m * self.tiles_m * self.fragment.m()
    }

    /// Units of a cube.
    pub const fn units(&self) -> usize {
        self.warps_n * self.warps_m * 32
    }

    /// Registers of a unit: eight accumulators per WMMA product, its operands, and an allowance for
    /// addresses.
    pub const fn registers(&self) -> usize {
        let (a, b) = self.fragment.operand_registers();
        8 * self.tiles_m * self.tiles_n + a * self.tiles_m + b * self.tiles_n + 48
    }

    pub(super) const fn shape(&self) -> StageShape {
        StageShape {
            units: self.units(),
            tokens: self.tokens(),
            strips: self.rows() / STRIP_ROWS,
            element: 1,
            rows: RowSpacing::Padded,
            copies: if self.async_copies {
                Copies::Asynchronous
            } else {
                Copies::Synchronous
            },
        }
    }

    /// Bytes of the decoded weights of a column tile.
    pub(super) const fn decoded_bytes(&self) -> usize {
        self.rows() * RowSpacing::Padded.pitch()
    }

    /// Bytes of the ring and of two column tiles of decoded weights.
    pub(super) const fn operand_bytes(&self) -> usize {
        self.stages * self.shape().bytes() + 2 * self.decoded_bytes()
    }

    /// Weight rows whose sums a warp stores at once: whole strips and whole fragments.
    pub(super) const fn window_rows(&self) -> usize {
        if self.fragment.n() > STRIP_ROWS {
            self.fragment.n()
        } else {
            STRIP_ROWS
        }
    }

    /// Sums that a warp stores at once.
    pub(super) const fn window(&self) -> usize {
        self.window_rows() * self.fragment.m()
    }

    /// Bytes of shared memory.
    pub const fn shared_bytes(&self) -> usize {
        self.operand_bytes() + 4 * self.warps_n * self.warps_m * self.window()
    }

    /// Checks that `device` can run the plan.
    ///
    /// # Errors
    /// [`KernelError::Plan`] for sizes that are zero or too large, for warps that cut a strip of 16 rows,
    /// for more units, registers or shared memory than a cube gets, on a GPU without int8 tensor cores, and
    /// for asynchronous copies before compute capability 8.0.
    pub fn validate(&self, device: &DeviceFacts) -> Result<(), KernelError> {
        let runs = device
            .cuda
            .is_some_and(|cuda| cuda.is_ampere() || !self.async_copies);
        let sizes = (1..=16).contains(&self.warps_n)
            && (1..=16).contains(&self.warps_m)
            && (1..=16).contains(&self.tiles_n)
            && (1..=16).contains(&self.tiles_m)
            && (3..=16).contains(&self.stages)
            && self.group >= 1;
        if runs
            && sizes
            && (self.tiles_n * self.fragment.n()).is_multiple_of(STRIP_ROWS)
            && self.units() <= device.max_units as usize
            && self.registers() <= 255
            && self.units() * self.registers() <= REGISTERS
            && self.shared_bytes() <= device.shared_bytes
        {
            return Ok(());
        }
        Err(KernelError::Plan {
            reason: format!(
                "{self:?} wants a GPU of compute capability 7.2 or later, 8.0 if it copies \
                 asynchronously (this is {:?}), whole strips of {STRIP_ROWS} rows a warp, at least \
                 3 stages, at most {} units, 255 registers a unit and {REGISTERS} a cube, and at most \
                 {} bytes of shared memory",
                device.cuda.map(|cuda| cuda.capability),
                device.max_units,
                device.shared_bytes
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::test_gpus::{AMPERE_AND_LATER, GEFORCE, ORIN, TURING, XAVIER};
    use crate::device_code::MmaType;
    use crate::product::cuda::mma::MmaBlueprint;
    use crate::product::problem::problem;

    fn of(fragment: WmmaFragment, size: usize) -> WmmaBlueprint {
        WmmaBlueprint::of(fragment, WmmaBlueprint::SIZES[size], &GEFORCE.cuda.unwrap())
    }

    #[test]
    fn candidates_fit_their_gpu() {
        for device in [XAVIER, TURING].into_iter().chain(AMPERE_AND_LATER) {
            let cuda = device.cuda.unwrap();
            for fragment in WmmaFragment::ALL {
                let plans: Vec<_> = WmmaBlueprint::candidates(fragment, &cuda).collect();
                assert!(plans.len() >= 2, "{fragment:?} {cuda:?}");
                for plan in plans {
                    assert_eq!(plan.validate(&device), Ok(()), "{plan:?} {device:?}");
                }
            }
        }
    }

    #[test]
    fn tiles_have_the_size_that_was_asked_for() {
        for fragment in WmmaFragment::ALL {
            for (i, size) in WmmaBlueprint::SIZES.into_iter().enumerate() {
                let plan = of(fragment, i);
                if plan.tiles_m == 0 {
                    assert!(size.3 < fragment.m(), "{plan:?}");
                    continue;
                }
                assert_eq!((plan.rows(), plan.tokens()), (size.2, size.3), "{plan:?}");
            }
        }
    }

    #[test]
    fn the_largest_plan_fits_an_orin_with_known_bytes_and_registers() {
        for fragment in WmmaFragment::ALL {
            let size = WmmaBlueprint::SIZES[0];
            let plan = WmmaBlueprint::of(fragment, size, &ORIN.cuda.unwrap());
            // Activations and words of a stage, decoded weights twice, a window of sums a warp.
            let ring = plan.stages * (128 * 144 + 128 * 32);
            let window = if fragment == WmmaFragment::M32N8K16 {
                32 * 16
            } else {
                256
            };
            assert_eq!(plan.shared_bytes(), ring + 2 * 128 * 144 + 4 * 4 * window);
            assert_eq!(plan.validate(&ORIN), Ok(()), "{plan:?}");
            assert!(2 * plan.units() * plan.registers() <= REGISTERS);
            assert!(plan.validate(&GEFORCE).is_err());
        }
    }

    #[test]
    fn a_small_plan_needs_no_more_than_48_kib() {
        let default = DeviceFacts {
            shared_bytes: 48 << 10,
            ..ORIN
        };
        for fragment in WmmaFragment::ALL {
            let small = WmmaBlueprint {
                stages: 3,
                ..of(fragment, 4)
            };
            assert_eq!(small.validate(&default), Ok(()), "{small:?}");
            assert!(of(fragment, 1).validate(&default).is_err());
        }
    }

    #[test]
    fn gpus_before_ampere_copy_through_registers() {
        for device in [XAVIER, TURING] {
            let cuda = device.cuda.unwrap();
            for m in [1, 8, 17, 512, 8192] {
                let plan = WmmaBlueprint::new(&problem(m, 4096, 4096), &cuda);
                assert_eq!(plan.validate(&device), Ok(()), "{plan:?}");
                let asynchronous = WmmaBlueprint {
                    async_copies: true,
                    ..plan
                };
                assert!(asynchronous.validate(&device).is_err());
            }
            let one = WmmaBlueprint::new(&problem(1, 4096, 4096), &cuda);
            assert_eq!(one.tokens(), 8, "{one:?}");
        }
    }

    /// The numbers of [`WmmaBlueprint::cycles`]' documentation.
    #[test]
    fn an_orin_is_faster_with_mma_by_both_models() {
        let cuda = ORIN.cuda.unwrap();
        let estimates = |m| {
            let problem = problem(m, 4096, 4096);
            let wmma = WmmaBlueprint::new(&problem, &cuda).cycles(&problem, &cuda);
            let mma = MmaBlueprint::new(&problem, MmaType::Int8, &cuda);
            (wmma, mma.cycles(&problem, MmaType::Int8, &cuda))
        };
        assert_eq!(estimates(512), (519_616, 298_528));
        for m in [9, 16, 33, 128, 2048, 8192] {
            let (wmma, mma) = estimates(m);
            assert!(mma < wmma, "{m} tokens: {mma} {wmma}");
        }
    }

    #[test]
    fn a_warp_that_cuts_a_strip_is_refused() {
        let plan = of(WmmaFragment::M32N8K16, 4);
        assert!(
            WmmaBlueprint { tiles_n: 3, ..plan }
                .validate(&ORIN)
                .is_err()
        );
        assert!(WmmaBlueprint { stages: 2, ..plan }.validate(&ORIN).is_err());
        assert!(
            WmmaBlueprint { stages: 16, ..plan }
                .validate(&GEFORCE)
                .is_err()
        );
    }
}
