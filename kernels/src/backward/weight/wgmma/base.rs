//! Plan of the outer product of a layer's gradients and inputs.

use crate::product::cuda::wgmma::WgmmaBlueprint;
use crate::product::cuda::wgmma::ring::RingShape;

/// Tokens of one step of the main loop. Tokens are the contracted dimension.
pub(super) const STEP_TOKENS: usize = 64;
/// u32 words of 64 × 64 activations in fragment order.
pub(super) const FRAGMENT_WORDS: usize = 1024;

/// The output tile of a cube is 128 inputs × 256 outputs: 256 is the widest `wgmma`, so each decoded
/// activation serves as many outputs as possible. In the blueprint, rows are inputs and tokens are
/// outputs.
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
/// Bytes of a stage: gradients, activations, token scales. The 128-byte swizzle needs stages that
/// start at multiples of 1024 bytes.
pub(super) const STAGE_BYTES: usize =
    (GRADIENT_BYTES + ACTIVATION_BYTES + 4 * STEP_TOKENS).next_multiple_of(1024);
/// Blocks of gradients that each cube copies to all cubes of its cluster (multicast).
pub(super) const BLOCKS: usize = PLAN.tokens / 64 / PLAN.multicast;
/// Bytes of a block.
pub(super) const BLOCK_BYTES: usize = STEP_TOKENS * 128;
/// The ring of a cube. Each of the two cubes of a cluster copies half of the gradients to both.
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
        // The kernel has one accumulator tile per warpgroup.
        assert_eq!(PLAN.tiles, 1);
        assert_eq!(BLOCKS * BLOCK_BYTES * PLAN.multicast, GRADIENT_BYTES);
    }
}
