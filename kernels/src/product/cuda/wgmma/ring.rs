//! The ring of stages in shared memory that one unit of a cube fills and its warps drain, in every cube
//! of a cluster that shares copies.

use cubecl::prelude::*;

use crate::device_code::ptx::barrier::{
    arrive_barrier, expect_bytes, init_barrier, publish_barriers, wait_barrier,
};
use crate::device_code::ptx::cluster::{arrive_cluster, wait_cluster};

/// Sizes of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RingShape {
    /// Stages.
    pub stages: usize,
    /// Bytes from one stage to the next.
    pub pitch: usize,
    /// Bytes that copies bring into a stage.
    pub bytes: usize,
    /// Warps of a cube that drain.
    pub warps: usize,
    /// Cubes that share copies.
    pub cubes: usize,
}

impl RingShape {
    /// Bytes of a stage's two barriers.
    pub const BARRIERS: usize = 16;

    /// Bytes of shared memory: the stages, then their barriers.
    pub const fn shared_bytes(&self) -> usize {
        self.stages * (self.pitch + Self::BARRIERS)
    }
}

/// A place in the ring, and how often it came round.
#[derive(CubeType)]
pub(crate) struct Ring {
    /// Address of the first stage.
    base: u32,
    /// Stage.
    slot: u32,
    /// Rounds modulo 2.
    round: u32,
}

/// Makes the barriers, and waits until every cube of the cluster has its own.
#[cube]
pub(crate) fn open(base: u32, #[comptime] shape: RingShape) -> Ring {
    let barriers = base + comptime!((shape.stages * shape.pitch) as u32);
    if UNIT_POS == 0 {
        #[unroll]
        for stage in 0..comptime!(shape.stages) {
            init_barrier(barriers + comptime!(8 * stage as u32), 1u32);
            init_barrier(
                barriers + comptime!(8 * (shape.stages + stage) as u32),
                comptime!((shape.warps * shape.cubes) as u32),
            );
        }
        publish_barriers();
    }
    arrive_cluster();
    wait_cluster();
    Ring {
        base,
        slot: 0u32.runtime(),
        round: 0u32.runtime(),
    }
}

/// Whether this unit's warpgroup copies instead of multiplying, which those before it do. Said by one
/// lane: in warps that might part, the compiler would wait for each product.
#[cube]
pub(crate) fn copies(#[comptime] shape: RingShape) -> bool {
    plane_broadcast(UNIT_POS / 32, 0u32) >= comptime!(shape.warps as u32)
}

/// Address of the current stage.
#[cube]
pub(crate) fn stage(ring: &Ring, #[comptime] shape: RingShape) -> u32 {
    ring.base + ring.slot * comptime!(shape.pitch as u32)
}

/// The barrier at which the copies into the current stage count.
#[cube]
pub(crate) fn filled(ring: &Ring, #[comptime] shape: RingShape) -> u32 {
    ring.base + comptime!((shape.stages * shape.pitch) as u32) + ring.slot * 8
}

/// Waits until all cubes have drained the current stage, and says that copies follow.
#[cube]
pub(crate) fn begin_filling(ring: &Ring, #[comptime] shape: RingShape) {
    let barrier = filled(ring, shape);
    wait_barrier(barrier + comptime!(8 * shape.stages as u32), ring.round ^ 1);
    expect_bytes(barrier, comptime!(shape.bytes as u32).runtime());
}

/// Waits until the current stage is full.
#[cube]
pub(crate) fn await_filled(ring: &Ring, #[comptime] shape: RingShape) {
    // A value of its own: a field that changes would reach the instruction as an address.
    let round = ring.round & 1;
    wait_barrier(filled(ring, shape), round);
}

/// Says, if `passed`, that this warp has read all of the stage before the current one.
#[cube]
pub(crate) fn release_previous(ring: &Ring, passed: bool, #[comptime] shape: RingShape) {
    let last = comptime!(shape.stages as u32 - 1);
    let slot = select(ring.slot == 0, last, ring.slot - 1);
    let barriers = ring.base + comptime!((shape.stages * shape.pitch) as u32);
    let barrier = barriers + comptime!(8 * shape.stages as u32) + slot * 8;
    let speaks = u32::cast_from(UNIT_POS_PLANE == 0 && passed);
    #[unroll]
    for rank in 0..comptime!(shape.cubes as u32) {
        arrive_barrier(barrier, rank, speaks);
    }
}

/// Moves on by one stage.
#[cube]
pub(crate) fn advance(ring: &mut Ring, #[comptime] shape: RingShape) {
    let wraps = ring.slot == comptime!(shape.stages as u32 - 1);
    ring.slot = select(wraps, 0u32, ring.slot + 1);
    ring.round = select(wraps, ring.round ^ 1, ring.round);
}
