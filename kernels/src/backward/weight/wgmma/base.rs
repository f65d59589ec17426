//! Plan of the outer product of a layer's gradients and inputs.

use crate::product::cuda::wgmma::WgmmaBlueprint;
use crate::product::cuda::wgmma::ring::RingShape;

/// Tokens of a step: the contracted dimension.
pub(super) const STEP_TOKENS: usize = 64;
/// u32 words of 64 × 64 activations in fragment order.
pub(super) const FRAGMENT_WORDS: usize = 1024;

/// 128 inputs × 256 outputs a cube: decoded activations serve as many outputs as an instruction
/// takes. In the blueprint, rows are inputs and tokens are outputs.
pub(super) const PLAN: WgmmaBlueprint = WgmmaBlueprint {
    warpgroups: 2,
    tiles: 1,
    tokens: 256,
    stages: 5,
    splits: 1,
    multicast: 2,
    group: 8,
};

/// Bytes of gradients of a stage, in blocks of 64 tokens × 64 outputs.
pub(super) const GRADIENT_BYTES: usize = STEP_TOKENS * PLAN.tokens * 2;
/// Bytes of activations of a stage.
pub(super) const ACTIVATION_BYTES: usize = PLAN.rows() * STEP_TOKENS;
/// Bytes of a stage, token scales last; swizzled rows want multiples of 1024.
pub(super) const STAGE_BYTES: usize =
    (GRADIENT_BYTES + ACTIVATION_BYTES + 4 * STEP_TOKENS).next_multiple_of(1024);
/// Blocks of gradients that a cube fetches for its cluster.
pub(super) const BLOCKS: usize = PLAN.tokens / 64 / PLAN.multicast;
/// Bytes of a block.
pub(super) const BLOCK_BYTES: usize = STEP_TOKENS * 128;
/// The ring that a cube fills: the cubes of a cluster fetch half of the gradients each, for both.
pub(super) const RING: RingShape = RingShape {
    stages: PLAN.stages,
    pitch: STAGE_BYTES,
    bytes: GRADIENT_BYTES + ACTIVATION_BYTES + 4 * STEP_TOKENS,
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
        // A warpgroup has one tile of sums.
        assert_eq!(PLAN.tiles, 1);
        assert_eq!(BLOCKS * BLOCK_BYTES * PLAN.multicast, GRADIENT_BYTES);
    }
}
