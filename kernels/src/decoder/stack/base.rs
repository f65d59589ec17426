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

/// Positions of a row of a cache that attention shares between cubes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Positions {
    /// Contiguous rows.
    Contiguous,
    /// Blocks of so many positions, and so many cubes of a head at most.
    Blocks { size: usize },
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
    pub const MAX_LAYERS: usize = 128;

    /// The plan for `shape`, or `None` where the separate kernels have to run.
    pub fn new(shape: StackShape, positions: Positions, device: &DeviceFacts) -> Option<Self> {
        let cuda = device.cuda.filter(|cuda| cuda.capability >= 90)?;
        let cubes = cuda.multiprocessors as usize;
        let StackShape {
            hidden,
            inner,
            heads,
            kv_heads,
            dim,
            ..
        } = shape;
        let (width, group) = (heads * dim, heads.checked_div(kv_heads)?);
        let whole = [hidden, inner, width].iter().all(|n| n.is_multiple_of(TILE_COLS));
        let halves = shape.dtype != FloatType::F32;
        let head = (dim == 64 || dim == 128) && heads.is_multiple_of(kv_heads) && group <= DecodePlan::MAX_GROUP;
        if !whole || !halves || !head || kv_heads > Self::MAX_KV_HEADS {
            return None;
        }
        let (units, share, block) = match positions {
            Positions::Contiguous => (Self::UNITS, 64, None),
            Positions::Blocks { size } => (256, DecodePlan::BLOCK_POSITIONS, Some(size)),
        };
        let splits = match positions {
            Positions::Contiguous => (cubes / kv_heads).clamp(1, DecodePlan::MAX_SPLITS),
            Positions::Blocks { .. } => DecodePlan::MAX_BLOCK_SPLITS,
        };
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
            attention: DecodePlan {
                dim,
                group,
                units,
                width: 8,
                ahead: if group > 4 { 2 } else { 4 },
                split: true,
                share,
                block,
            },
            splits,
        };
        let shares = [plan.qkv, plan.output, plan.gate_up, plan.down];
        let fits = 4 * plan.shared_words() <= device.shared_bytes
            && shares.iter().all(|share| share.pairs() <= Self::UNITS && share.per_group() <= 16)
            && [plan.hidden_norm, plan.inner_norm, plan.width_norm]
                .iter()
                .all(|row| row.values() <= 32);
        fits.then_some(plan)
    }

    /// Most heads of keys and values: each has a counter.
    pub const MAX_KV_HEADS: usize = 256;

    /// Pieces of `share` that a warp has in registers.
    pub const fn ahead(share: Share) -> usize {
        match share.slots() < Self::AHEAD {
            true => share.slots(),
            false => Self::AHEAD,
        }
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
        let attention = queries + self.attention.shared_words();
        let addresses = Self::MAX_LAYERS * super::ENTRIES * 2;
        self.code_words() + self.sum_words() + self.shape.hidden / 2 + attention + addresses + 128
    }
}

/// Device memory that a stack needs for a step, and the counters by which its cubes wait for each other.
///
/// Launches with one scratch must not overlap, and no two scratches may be in use at once: the cubes of two
/// stacks that run side by side could wait for each other for ever, and give up.
#[derive(Clone, Debug)]
pub struct StackScratch {
    pub(super) qkv: Buffer,
    pub(super) attended: Buffer,
    pub(super) gated: Buffer,
    pub(super) between: Buffer,
    pub(super) sums: Buffer,
    pub(super) counters: Buffer,
}

/// Words of the counters: see [`super::device::grid`].
pub(super) const COUNTER_WORDS: usize = 256 + StackPlan::MAX_KV_HEADS;

impl StackScratch {
    /// Allocates scratch for stacks of `shape` on `client`'s device.
    pub fn new(client: &Client, shape: &StackShape) -> Self {
        let buffer = |words: usize| Buffer::new(client.empty(4 * words), words);
        let width = (shape.heads + 2 * shape.kv_heads) * shape.dim;
        let group = shape.heads / shape.kv_heads.max(1);
        let slots = shape.kv_heads * DecodePlan::MAX_SPLITS;
        let counters = client.create_from_slice(u32::as_bytes(&[0; COUNTER_WORDS]));
        Self {
            qkv: buffer(width),
            attended: buffer(shape.heads * shape.dim),
            gated: buffer(shape.inner),
            between: buffer(shape.hidden),
            sums: buffer(slots * DecodePlan::slot_words(group, shape.dim)),
            counters: Buffer::new(counters, COUNTER_WORDS),
        }
    }

    /// Checks that a stack of `shape` fits.
    pub(super) fn check(&self, shape: &StackShape) -> Result<(), KernelError> {
        let width = (shape.heads + 2 * shape.kv_heads) * shape.dim;
        let lengths = [
            ("scratch of q|k|v", &self.qkv, width),
            ("scratch of attended heads", &self.attended, shape.heads * shape.dim),
            ("scratch of gated values", &self.gated, shape.inner),
            ("scratch of the stream", &self.between, shape.hidden),
        ];
        for (operand, buffer, len) in lengths {
            buffer.check_lines(operand, len)?;
        }
        Ok(())
    }
}
