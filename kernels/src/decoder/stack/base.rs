//! Shapes, plan and scratch of a stack.

use cubecl::prelude::*;
use tritburn_formats::WeightCode;

use super::share::Share;
use crate::decoder::attention::DecodePlan;
use crate::decoder::glu::GatedActivation;
use crate::decoder::norm::LinePlan;
use crate::device::DeviceFacts;
use crate::error::KernelError;
use crate::operand::{Buffer, FloatType};
use crate::prepack::TILE_COLS;

/// What the layers of a stack have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StackShape {
    /// Features of the residual stream.
    pub hidden: usize,
    /// Features between gate and down.
    pub inner: usize,
    /// Query heads.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Dimension of a head.
    pub dim: usize,
    /// What `up` is multiplied by.
    pub activation: GatedActivation,
    /// Whether attended heads and gated values are normalised before their projection.
    pub sub_norms: bool,
    /// Code table of all weights.
    pub code: WeightCode,
    /// Type of the residual stream, of keys and of values: a half-precision one.
    pub dtype: FloatType,
}

/// The plan of a stack: a kernel is compiled for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct StackPlan {
    pub shape: StackShape,
    /// Cubes, all of which are resident at once.
    pub cubes: usize,
    pub qkv: Share,
    pub output: Share,
    pub gate_up: Share,
    pub down: Share,
    pub hidden_norm: RowPlan,
    pub inner_norm: RowPlan,
    pub width_norm: RowPlan,
    pub attention: DecodePlan,
    /// Most cubes that share the positions of a head.
    pub splits: usize,
}

/// How the units of a cube hold a row: line `v + i·units` belongs to virtual unit `v`, and virtual unit `v` to
/// unit `v mod` [`StackPlan::UNITS`]. Virtual units add up in the order of the norm kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RowPlan {
    /// Lines of 8 values.
    pub lines: usize,
    /// Virtual units, in whole planes.
    pub units: usize,
    /// Lines of a virtual unit.
    pub per_unit: usize,
}

impl RowPlan {
    fn new(cols: usize, device: &DeviceFacts) -> Option<Self> {
        let lines = cols / 8;
        let plan = LinePlan::new(1, lines, 8, device)?;
        Some(Self {
            lines,
            units: plan.team.units,
            per_unit: plan.lines,
        })
    }

    /// Virtual units of a unit.
    pub const fn passes(&self) -> usize {
        self.units.div_ceil(StackPlan::UNITS)
    }

    /// Values of a unit.
    pub const fn values(&self) -> usize {
        8 * self.passes() * self.per_unit
    }

    /// Virtual planes.
    pub const fn planes(&self) -> usize {
        self.units / 32
    }
}

impl StackPlan {
    /// Units of a cube.
    pub const UNITS: usize = 512;
    /// Warps of a cube.
    pub const WARPS: usize = Self::UNITS / 32;
    /// Most pieces of weights that a warp has in registers.
    const AHEAD: usize = 10;
    /// Most layers, whose addresses lie in shared memory.
    pub const MAX_LAYERS: usize = 96;

    /// The plan for `shape` over contiguous rows, or rows of blocks of `block` positions; `None` where the separate
    /// kernels have to run.
    pub fn new(shape: StackShape, block: Option<usize>, device: &DeviceFacts) -> Option<Self> {
        let cuda = device.cuda.filter(|cuda| cuda.capability == 90)?;
        let StackShape {
            hidden,
            inner,
            heads,
            kv_heads,
            dim,
            ..
        } = shape;
        let width = heads * dim;
        // Each has a share of every product: what it hands on says that it has received what came before.
        let narrowest = (width + 2 * kv_heads * dim).min(hidden).min(inner);
        let cubes = (cuda.multiprocessors as usize).min(narrowest / 16).max(1);
        let whole = [hidden, inner, width]
            .iter()
            .all(|n| n.is_multiple_of(TILE_COLS));
        let halves = shape.dtype != FloatType::F32;
        let head = (dim == 64 || dim == 128)
            && kv_heads > 0
            && heads > 0
            && heads.is_multiple_of(kv_heads);
        if !whole || !halves || !head {
            return None;
        }
        let (attention, splits) = Self::attention(heads / kv_heads, dim, block);
        let splits = splits.unwrap_or(cubes * attention.group / heads);
        let share_of = |rows, cols, matrices| Share::new(rows, cols, matrices, cubes, Self::WARPS);
        let plan = Self {
            shape,
            cubes,
            qkv: share_of((heads + 2 * kv_heads) * dim, hidden, 1),
            output: share_of(hidden, width, 1),
            gate_up: share_of(inner, hidden, 2),
            down: share_of(hidden, inner, 1),
            hidden_norm: RowPlan::new(hidden, device)?,
            inner_norm: RowPlan::new(inner, device)?,
            width_norm: RowPlan::new(width, device)?,
            attention,
            splits: splits.clamp(1, DecodePlan::MAX_SPLITS),
        };
        let staged = |gate_up, down| {
            let mut plan = plan;
            (plan.gate_up.staged, plan.down.staged) = (gate_up, down);
            (4 * plan.shared_words() <= device.shared_bytes).then_some(plan)
        };
        let plan = staged(true, true).or(staged(false, true)).unwrap_or(plan);
        let shares = [plan.qkv, plan.output, plan.gate_up, plan.down];
        let fits = 4 * plan.shared_words() <= device.shared_bytes
            && shares
                .iter()
                .all(|share| share.pairs() <= Self::UNITS && share.per_group() <= 16)
            && [plan.hidden_norm, plan.inner_norm, plan.width_norm]
                .iter()
                .all(|row| row.values() <= 32);
        fits.then_some(plan)
    }

    /// How the positions of `per_key` query heads are shared, and by how many cubes at most: by as many as there
    /// are, or over blocks as the separate kernel has it, whose sums depend on all but the heads of a cube.
    fn attention(per_key: usize, dim: usize, block: Option<usize>) -> (DecodePlan, Option<usize>) {
        let plan = |group, units, ahead, share| DecodePlan {
            dim,
            group,
            units,
            width: 8,
            ahead,
            split: true,
            share,
            block,
        };
        match block {
            // Two heads of a cube read keys and values once. More would leave cubes without work.
            None => {
                let group = if per_key.is_multiple_of(2) { 2 } else { 1 };
                (plan(group, Self::UNITS, 2, 32), None)
            }
            Some(_) => {
                let ahead = DecodePlan::ahead(per_key.min(DecodePlan::MAX_GROUP));
                let share = DecodePlan::BLOCK_POSITIONS;
                let plan = plan(1, 256, ahead, share);
                (plan, Some(DecodePlan::MAX_BLOCK_SPLITS))
            }
        }
    }

    /// Query heads, or pairs of them: what a cube attends for.
    pub const fn tiles(&self) -> usize {
        self.shape.heads / self.attention.group
    }

    /// Pieces of `share` that a warp has in registers.
    pub const fn ahead(share: Share) -> usize {
        match share.slots() < Self::AHEAD {
            true => share.slots(),
            false => Self::AHEAD,
        }
    }

    /// First word of each part of what cubes hand on, see [`parts`].
    pub const fn handed_on(&self) -> [usize; 6] {
        parts(&self.shape)
    }

    /// Groups of copies that may be under way when one of the staged products begins: that of the other.
    pub const fn pending(&self) -> usize {
        (self.gate_up.staged && self.down.staged) as usize
    }

    /// Words that the cube of a share of positions hands on, in whole lines.
    pub const fn share_words(group: usize, dim: usize) -> usize {
        DecodePlan::slot_words(group, dim).next_multiple_of(4)
    }

    /// Words of the codes of a row.
    pub fn code_words(&self) -> usize {
        let shape = &self.shape;
        shape.hidden.max(shape.inner).max(shape.heads * shape.dim) / 4
    }

    /// Words of the sums of a product's warps.
    pub fn sum_words(&self) -> usize {
        let shares = [self.qkv, self.output, self.gate_up, self.down];
        shares.iter().map(Share::sum_words).max().unwrap_or(0)
    }

    /// Words of shared memory.
    pub fn shared_words(&self) -> usize {
        let queries = self.attention.group * self.shape.dim / 2;
        let parts = self.splits * DecodePlan::slot_words(self.attention.group, self.shape.dim);
        let attention = queries + self.attention.shared_words() + parts + queries;
        let addresses = Self::MAX_LAYERS * super::ENTRIES * 2;
        let staged = self.gate_up.staged_words() + self.down.staged_words();
        staged
            + super::device::BLOCKS
            + self.code_words()
            + self.sum_words()
            + self.shape.hidden / 2
            + attention
            + addresses
            + 128
    }
}

/// Device memory in which the cubes of a stack hand on what they compute.
///
/// Launches with one scratch must not overlap, and no two scratches may be in use at once: the cubes of two
/// stacks that run side by side could wait for each other for ever, and give up.
#[derive(Clone, Debug)]
pub struct StackScratch {
    /// Words beside serial numbers, see `device/handoff.rs`.
    pub(super) handed_on: Buffer,
    /// The serial number of the layer before the first of the next launch.
    pub(super) begin: Buffer,
}

impl StackScratch {
    /// Allocates scratch for stacks of `shape` on `client`'s device.
    pub fn new(client: &Client, shape: &StackShape) -> Self {
        let zeros = |words: usize| {
            let handle = client.create_from_slice(u32::as_bytes(&vec![0; words]));
            Buffer::new(handle, words)
        };
        Self {
            handed_on: zeros(Self::words(shape)),
            begin: zeros(1),
        }
    }

    /// Words that stacks of `shape` need, however they share positions.
    fn words(shape: &StackShape) -> usize {
        let sums = shape.heads * DecodePlan::MAX_SPLITS * StackPlan::share_words(1, shape.dim);
        2 * (parts(shape)[5] + sums)
    }

    /// Checks that a stack of `shape` fits.
    pub(super) fn check(&self, shape: &StackShape) -> Result<(), KernelError> {
        self.handed_on
            .check_lines("scratch of a stack", Self::words(shape))?;
        self.begin.check_exact("serial number of a stack", 1)
    }
}

/// First word of q|k|v, attended heads, what the output projection adds, gated values, what down adds, partial
/// results of attention.
const fn parts(shape: &StackShape) -> [usize; 6] {
    let qkv = (shape.heads + 2 * shape.kv_heads) * shape.dim / 2;
    let attended = qkv + shape.heads * shape.dim / 2;
    let between = attended + shape.hidden / 2;
    let gated = between + shape.inner;
    [0, qkv, attended, between, gated, gated + shape.hidden / 2]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::CudaFacts;
    use crate::device::test_gpus::{AMPERE, HOPPER};

    const BITNET: StackShape = StackShape {
        hidden: 2560,
        inner: 6912,
        heads: 20,
        kv_heads: 5,
        dim: 128,
        activation: GatedActivation::SquaredRelu,
        sub_norms: true,
        code: WeightCode::Ternary,
        dtype: FloatType::BF16,
    };
    const LLAMA: StackShape = StackShape {
        hidden: 4096,
        inner: 14_336,
        heads: 32,
        kv_heads: 8,
        sub_norms: false,
        activation: GatedActivation::Silu,
        ..BITNET
    };
    const BLOCKS: [Option<usize>; 2] = [None, Some(64)];

    fn hopper(multiprocessors: u32) -> DeviceFacts {
        DeviceFacts {
            cuda: Some(CudaFacts {
                capability: 90,
                multiprocessors,
            }),
            ..HOPPER
        }
    }

    #[test]
    fn every_cube_has_a_share_of_every_product() {
        let small = StackShape {
            hidden: 256,
            inner: 384,
            heads: 4,
            kv_heads: 2,
            dim: 64,
            ..BITNET
        };
        for (shape, block) in [BITNET, LLAMA, small]
            .iter()
            .flat_map(|s| BLOCKS.map(|p| (s, p)))
        {
            // A partition, H100 PCIe, H100 and H200.
            for multiprocessors in [16, 114, 132] {
                let Some(plan) = StackPlan::new(*shape, block, &hopper(multiprocessors)) else {
                    assert!(
                        multiprocessors == 16 && shape.hidden > 256,
                        "{shape:?} on {multiprocessors}"
                    );
                    continue;
                };
                assert!(plan.cubes <= multiprocessors as usize);
                for share in [plan.qkv, plan.output, plan.gate_up, plan.down] {
                    assert!(share.strips >= plan.cubes, "{plan:?}");
                }
                assert!(4 * plan.shared_words() <= HOPPER.shared_bytes, "{plan:?}");
                let partial = plan.tiles()
                    * plan.splits
                    * StackPlan::share_words(plan.attention.group, shape.dim);
                let words = StackScratch::words(shape) / 2 - parts(shape)[5];
                assert!(partial <= words, "{plan:?}");
            }
        }
    }

    #[test]
    fn weights_are_staged_where_shared_memory_holds_them() {
        let staged = |shape| {
            let plan = StackPlan::new(shape, None, &HOPPER).expect("a plan");
            (plan.gate_up.staged, plan.down.staged, plan.pending())
        };
        assert_eq!(staged(BITNET), (true, true, 1));
        assert_eq!(staged(LLAMA), (false, true, 0));
    }

    #[test]
    fn other_devices_and_shapes_run_the_separate_kernels() {
        let plan = |shape, device| StackPlan::new(shape, None, device);
        assert!(plan(BITNET, &HOPPER).is_some());
        assert_eq!(plan(BITNET, &AMPERE), None);
        for shape in [
            StackShape { dim: 80, ..BITNET },
            StackShape {
                hidden: 2600,
                ..BITNET
            },
            StackShape {
                kv_heads: 6,
                ..BITNET
            },
            StackShape {
                kv_heads: 0,
                ..BITNET
            },
            StackShape {
                dtype: FloatType::F32,
                ..BITNET
            },
        ] {
            assert_eq!(plan(shape, &HOPPER), None, "{shape:?}");
        }
    }
}
