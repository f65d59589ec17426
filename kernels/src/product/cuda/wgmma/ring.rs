//! The ring of stages between the producer of a cube (one unit, which copies) and its consumers
//! (the warps that multiply). Cubes of a cluster that share copies wait for each other's consumers.

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
    /// Bytes that the copies of a stage write.
    pub bytes: usize,
    /// Consumer warps of a cube.
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

/// A position in the ring.
#[derive(CubeType)]
pub(crate) struct Ring {
    /// Address of the first stage.
    base: u32,
    /// Index of the current stage.
    slot: u32,
    /// Times the ring wrapped around, modulo 2: the parity of the barriers' phase.
    round: u32,
}

/// Initialises the barriers, and waits until every cube of the cluster has initialised its own.
#[cube]
pub(crate) fn init_ring(base: u32, #[comptime] shape: RingShape) -> Ring {
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

/// Whether this warpgroup is the producer (the last one). Broadcast from one lane, so that the
/// compiler knows that the branch is uniform; otherwise it serialises the wgmmas.
#[cube]
pub(crate) fn is_producer(#[comptime] shape: RingShape) -> bool {
    plane_broadcast(UNIT_POS / 32, 0u32) >= comptime!(shape.warps as u32)
}

/// Address of the current stage.
#[cube]
pub(crate) fn stage_address(ring: &Ring, #[comptime] shape: RingShape) -> u32 {
    ring.base + ring.slot * comptime!(shape.pitch as u32)
}

/// The barrier that counts the bytes copied into the current stage.
#[cube]
pub(crate) fn filled_barrier(ring: &Ring, #[comptime] shape: RingShape) -> u32 {
    ring.base + comptime!((shape.stages * shape.pitch) as u32) + ring.slot * 8
}

/// Producer: waits until the consumers of all cubes have released the current stage, and announces
/// the bytes that will be copied.
#[cube]
pub(crate) fn begin_filling(ring: &Ring, #[comptime] shape: RingShape) {
    let barrier = filled_barrier(ring, shape);
    wait_barrier(barrier + comptime!(8 * shape.stages as u32), ring.round ^ 1);
    expect_bytes(barrier, comptime!(shape.bytes as u32).runtime());
}

/// Consumer: waits until the current stage is full.
#[cube]
pub(crate) fn await_filled(ring: &Ring, #[comptime] shape: RingShape) {
    // A copy: `gpu_asm!` would pass the address of a field that changes.
    let round = ring.round & 1;
    wait_barrier(filled_barrier(ring, shape), round);
}

/// Consumer: if `passed`, releases the stage before the current one, to the producers of all cubes.
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

/// Advances to the next stage.
#[cube]
pub(crate) fn advance(ring: &mut Ring, #[comptime] shape: RingShape) {
    let wraps = ring.slot == comptime!(shape.stages as u32 - 1);
    ring.slot = select(wraps, 0u32, ring.slot + 1);
    ring.round = select(wraps, ring.round ^ 1, ring.round);
}
