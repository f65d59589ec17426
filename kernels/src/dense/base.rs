//! Plan of the dense product.

use crate::product::cuda::wgmma::WgmmaBlueprint;
use crate::product::cuda::wgmma::ring::RingShape;

/// Bytes of a row in one step of the main loop: a depth of 64 half-precision floats, or of 128 int8. Depth is
/// the contracted dimension.
pub(super) const STEP_BYTES: usize = 128;

/// The output tile of a cube is 128 rows × 256 columns. The two cubes of a cluster compute the same
/// columns and share the right operand. In the blueprint, tokens are columns.
pub(super) const PLAN: WgmmaBlueprint = WgmmaBlueprint {
    warpgroups: 2,
    tiles: 1,
    tokens: 256,
    stages: 4,
    splits: 1,
    multicast: 2,
    group: 8,
};

/// Rows of a block of 64 rows × 128 bytes: what one bulk copy moves, and what one wgmma reads of the left
/// operand.
pub(super) const BLOCK: usize = 64;
/// Bytes of a block.
pub(super) const BLOCK_BYTES: usize = BLOCK * STEP_BYTES;
/// Blocks of the right operand that each cube copies to all cubes of its cluster (multicast).
pub(super) const RIGHT_BLOCKS: usize = PLAN.tokens / BLOCK / PLAN.multicast;
/// Blocks of the left operand that each cube copies to itself.
pub(super) const LEFT_BLOCKS: usize = PLAN.rows() / BLOCK;
/// Bytes of the right operand in a stage; the left operand follows.
pub(super) const RIGHT_BYTES: usize = PLAN.multicast * RIGHT_BLOCKS * BLOCK_BYTES;
/// Bytes of a stage.
const STAGE_BYTES: usize = RIGHT_BYTES + LEFT_BLOCKS * BLOCK_BYTES;

/// The ring of a cube.
pub(super) const RING: RingShape = RingShape {
    stages: PLAN.stages,
    pitch: STAGE_BYTES,
    bytes: STAGE_BYTES,
    warps: 4 * PLAN.warpgroups,
    cubes: PLAN.multicast,
};
/// Bytes of shared memory, with room to align the first stage.
pub(super) const SHARED_BYTES: usize = RING.shared_bytes() + 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_fits_hopper() {
        let shared = SHARED_BYTES;
        assert!(shared <= 232_448, "{shared} bytes of shared memory");
        assert_eq!(RIGHT_BYTES, PLAN.tokens * STEP_BYTES);
        assert_eq!(LEFT_BLOCKS, PLAN.warpgroups * PLAN.tiles);
    }
}
