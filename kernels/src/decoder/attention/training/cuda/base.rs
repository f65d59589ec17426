//! Plans of the kernels.

use cubecl::prelude::*;

use super::super::base::AttentionShape;
use crate::device::DeviceFacts;
use crate::device_code::MmaType;
use crate::error::KernelError;
use crate::operand::{FloatMatrix, FloatType};

/// Stages of the ring: one is multiplied while the other is filled.
pub(super) const STAGES: usize = 2;

/// The sizes of one kernel's tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlashPlan {
    /// Dimension of a head: 32, 64 or 128.
    pub dim: usize,
    /// Type of the multiplied elements: bf16 or f16.
    pub types: MmaType,
    /// Warps of a cube.
    pub warps: usize,
    /// Blocks of 16 rows that a warp holds in registers.
    pub blocks: usize,
    /// Rows of a tile in shared memory.
    pub tile: usize,
    /// Rows of a tile (a span) whose scores are in registers at once.
    pub span: usize,
    /// Whether a warp's own keys and values stay in registers; otherwise they are read from shared memory
    /// for every span. Queries always stay in registers.
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
            // Each unit copies the same line of several rows, which are at least 8 apart, so that the
            // swizzle is the same for all of them.
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
    /// Bytes of cache for what concurrent cubes read; it decides how many heads are processed together.
    pub cached: usize,
}

impl FlashPlans {
    /// Plans for heads of `dim` elements of `dtype`; `None` if no kernel takes them.
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

    /// Query heads of a section (see [`FlashExtents::section`](super::tile::FlashExtents)) of the kernels
    /// whose cubes read keys and values.
    pub(super) fn query_section(&self, shape: &AttentionShape) -> usize {
        let heads = self.section(shape, 1) * (shape.heads / shape.kv_heads);
        heads.min(shape.batch * shape.heads)
    }

    /// Key heads of a section of the kernel whose cubes read the queries of a group and their outputs'
    /// gradients.
    pub(super) fn key_section(&self, shape: &AttentionShape) -> usize {
        let heads = self.section(shape, shape.heads / shape.kv_heads);
        heads.min(shape.batch * shape.kv_heads)
    }

    /// How many times two matrices of `heads` heads fit [`cached`](Self::cached) bytes, at least 1.
    fn section(&self, shape: &AttentionShape, heads: usize) -> usize {
        let bytes = 2 * shape.length * heads * self.forward.row_bytes();
        (self.cached / bytes).max(1)
    }

    /// Checks that the kernels run on the device, that the matrices in `lines` can be copied 16 bytes at a
    /// time, and those in `pairs` two elements at a time.
    pub(in crate::decoder::attention::training) fn check(
        &self,
        client: &Client,
        shape: &AttentionShape,
        scale: f32,
        lines: &FloatMatrix,
        pairs: &FloatMatrix,
    ) -> Result<(), KernelError> {
        let refuse = |reason| Err(KernelError::Plan { reason });
        // The mask is a very low score. It stays the lowest only if the factor is positive.
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
