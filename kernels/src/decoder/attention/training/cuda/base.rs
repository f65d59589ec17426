//! Plans of the kernels.

use cubecl::prelude::*;

use super::super::base::AttentionShape;
use crate::device::DeviceFacts;
use crate::device_code::MmaType;
use crate::error::KernelError;
use crate::operand::{FloatMatrix, FloatType};

/// Tiles in shared memory: one that is multiplied, one that comes.
pub(super) const STAGES: usize = 2;

/// How a kernel's cubes are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlashPlan {
    /// Dimension of a head: 32, 64 or 128.
    pub dim: usize,
    /// What is multiplied: half types.
    pub types: MmaType,
    /// Warps of a cube.
    pub warps: usize,
    /// Blocks of 16 rows that a warp keeps.
    pub blocks: usize,
    /// Rows of a tile in shared memory.
    pub tile: usize,
    /// Rows of a tile whose scores are in registers at once.
    pub span: usize,
    /// Whether a warp's own keys and values stay in registers; else they are read from shared memory for
    /// every span. Queries always stay.
    pub held: bool,
}

impl FlashPlan {
    /// Rows of a cube.
    pub const fn rows(self) -> usize {
        16 * self.blocks * self.warps
    }

    /// Units of a cube.
    pub const fn units(self) -> usize {
        32 * self.warps
    }

    /// Bytes of a row of a head.
    pub(super) const fn row_bytes(self) -> usize {
        2 * self.dim
    }

    /// Bytes of a tile.
    pub(super) const fn tile_bytes(self) -> usize {
        self.tile * self.row_bytes()
    }

    /// Bytes of a stage that holds two tiles and `extra` bytes for each of their rows.
    pub(super) const fn stage_bytes(self, extra: usize) -> usize {
        2 * self.tile_bytes() + self.tile * extra
    }

    /// Bytes that the keys and values of a cube take.
    pub(super) const fn own_bytes(self) -> usize {
        2 * self.rows() * self.row_bytes()
    }

    /// Checks that there is a kernel for the plan and that it fits `device`.
    fn validate(self, shared_bytes: usize, device: &DeviceFacts) -> Result<(), KernelError> {
        let lines = self.row_bytes() / 16;
        let cuda = device.cuda.is_some_and(|cuda| cuda.capability >= 80);
        let good = cuda
            && [32, 64, 128].contains(&self.dim)
            && self.types != MmaType::Int8
            && [1, 2, 4, 8].contains(&self.warps)
            && (1..=4).contains(&self.blocks)
            && self.span >= 16
            && self.span.is_multiple_of(16)
            && self.tile.is_multiple_of(self.span)
            // Units copy lines of their own, eight rows apart at least.
            && self.units() / lines >= 8
            && self.tile.is_multiple_of(self.units() / lines)
            && self.rows().is_multiple_of(self.units() / lines)
            && self.tile <= 2 * self.units()
            && shared_bytes <= device.shared_bytes;
        match good {
            true => Ok(()),
            false => Err(KernelError::Plan {
                reason: format!(
                    "{self:?} needs {shared_bytes} bytes of shared memory on {device:?}"
                ),
            }),
        }
    }
}

/// The plans of the three kernels for one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlashPlans {
    /// The forward pass.
    pub forward: FlashPlan,
    /// The gradient of the queries.
    pub query: FlashPlan,
    /// The gradients of keys and values.
    pub key: FlashPlan,
    /// Bytes that heads whose cubes come one after another may read, so that the cache holds them.
    pub cached: usize,
}

impl FlashPlans {
    /// Plans for heads of `dim` elements of `dtype`; none if there are no kernels for them.
    pub fn new(dim: usize, dtype: FloatType) -> Option<Self> {
        let types = match dtype {
            FloatType::F32 => return None,
            half => MmaType::of(half),
        };
        let plan = |warps, blocks, tile, span, held| FlashPlan {
            dim,
            types,
            warps,
            blocks,
            tile,
            span,
            held,
        };
        let (forward, query, key) = match dim {
            32 | 64 => (
                plan(4, 2, 64, 64, true),
                plan(4, 2, 64, 32, true),
                plan(4, 2, 64, 32, false),
            ),
            128 => (
                plan(4, 1, 64, 64, true),
                plan(4, 1, 64, 32, true),
                plan(4, 1, 64, 32, false),
            ),
            _ => return None,
        };
        Some(Self {
            forward,
            query,
            key,
            cached: 16 << 20,
        })
    }

    /// Query heads of a section: the cubes of each read its keys and values again.
    pub(super) fn query_section(&self, shape: &AttentionShape) -> usize {
        let heads = self.section(shape, 1) * (shape.heads / shape.kv_heads);
        heads.min(shape.batch * shape.heads)
    }

    /// Key heads of a section: the cubes of each read the queries of its group and their gradients again.
    pub(super) fn key_section(&self, shape: &AttentionShape) -> usize {
        let heads = self.section(shape, shape.heads / shape.kv_heads);
        heads.min(shape.batch * shape.kv_heads)
    }

    /// How many times two rows of `heads` heads fit the cache.
    fn section(&self, shape: &AttentionShape, heads: usize) -> usize {
        let bytes = 2 * shape.length * heads * self.forward.row_bytes();
        (self.cached / bytes).max(1)
    }

    /// Checks that the kernels run on the device, and that rows of `lines` can be copied in lines and rows
    /// of `pairs` in pairs.
    pub(in crate::decoder::attention::training) fn check(
        &self,
        client: &Client,
        shape: &AttentionShape,
        scale: f32,
        lines: &FloatMatrix,
        pairs: &FloatMatrix,
    ) -> Result<(), KernelError> {
        let refuse = |reason| Err(KernelError::Plan { reason });
        // Scores that are masked become very small ones: times a factor that keeps their order.
        if scale.is_nan() || scale <= 0.0 {
            return refuse(format!(
                "scores are scaled by {scale}, which is not above 0"
            ));
        }
        if !(lines.starts_lines() && pairs.starts_pairs()) {
            return refuse("rows do not start at multiples of 16 bytes, or of two elements".into());
        }
        self.validate(shape.dim, lines.dtype(), &DeviceFacts::of(client))
    }

    /// Checks that the kernels run on `device`.
    fn validate(
        &self,
        dim: usize,
        dtype: FloatType,
        device: &DeviceFacts,
    ) -> Result<(), KernelError> {
        for plan in [self.forward, self.query, self.key] {
            if plan.dim != dim || plan.types != MmaType::of(dtype) || dtype == FloatType::F32 {
                return Err(KernelError::Plan {
                    reason: format!("{plan:?} is not for {dim} elements of {dtype}"),
                });
            }
        }
        for plan in [self.forward, self.query] {
            plan.validate(STAGES * plan.stage_bytes(0), device)?;
        }
        let key = self.key;
        key.validate(key.own_bytes() + STAGES * key.stage_bytes(8), device)
    }
}
