//! Launch of the outer product; the caller has checked the operands.

use cubecl::prelude::*;

use super::base::{FRAGMENT_WORDS, PLAN, SHARED_BYTES, STEP_TOKENS};
use super::fragments::transpose;
use super::kernel::{OuterExtentsLaunch, outer};
use crate::device::{DeviceFacts, address, cubes};
use crate::device_code::MmaType;
use crate::error::KernelError;
use crate::operand::{Buffer, FloatMatrix, FloatType, QuantizedActivations};
use crate::product::cuda::wgmma::Parts;

/// Whether [`launch`] takes these operands on `device`: it needs a Hopper GPU, gradients in half
/// precision whose rows start at multiples of 16 bytes, and enough tokens to pay.
pub(in crate::backward::weight) fn fits(dy: &FloatMatrix, device: &DeviceFacts) -> bool {
    let half = dy.dtype() != FloatType::F32;
    PLAN.runs_on(device)
        && half
        && dy.starts_lines()
        && dy.rows() >= STEP_TOKENS
        && SHARED_BYTES <= device.shared_bytes
}

/// `dW = dYᵀ · X̂`. Scaled activations are rounded to dY's type; sums are f32.
///
/// # Errors
/// [`KernelError::GridTooLarge`] or [`KernelError::AddressWidth`].
pub(in crate::backward::weight) fn launch(
    client: &Client,
    dy: &FloatMatrix,
    x: &QuantizedActivations,
    dw: &FloatMatrix,
    device: &DeviceFacts,
) -> Result<(), KernelError> {
    let (m, n, k) = (x.rows(), dy.cols(), x.cols());
    let (input_tiles, token_tiles) = (k.div_ceil(64), m.div_ceil(STEP_TOKENS));
    let tile_words = input_tiles * token_tiles * FRAGMENT_WORDS;
    // The token scales follow the tiles.
    let words = tile_words + token_tiles * STEP_TOKENS;
    let fragments = Buffer::new(client.empty(words * 4), words);
    let dim = device.cube_dim();
    let pairs = tile_words / 2;
    let width = dw.pair_width();
    let tiles = k.div_ceil(PLAN.rows() * PLAN.multicast) * n.div_ceil(PLAN.tokens);
    let parts = Parts::new(client, &PLAN, tiles, token_tiles, dw, device);
    let (to, extent, dtype) = parts.target(dw, width);
    let words_per_row = QuantizedActivations::words_per_row(k);
    let address = address(client, &[dy.extent(), extent, words])?;
    // SAFETY: the buffers cover the operands' shapes, what `transpose` writes and the sums of all
    // parts; the kernels access nothing outside of them.
    unsafe {
        transpose::launch_unchecked(
            client,
            cubes(client, pairs, dim.num_elems() as usize)?,
            dim,
            address,
            x.codes().arg(),
            x.scales().arg(),
            fragments.lines(2),
            m,
            words_per_row,
            token_tiles,
            pairs,
        );
        outer::launch_unchecked(
            client,
            CubeCount::Static(PLAN.cubes(tiles * parts.count, device) as u32, 1, 1),
            CubeDim::new_1d(PLAN.cube_units() as u32),
            address,
            width,
            dy.tensor_map([STEP_TOKENS, 64]),
            fragments.arg(),
            to,
            OuterExtentsLaunch::new(
                n,
                k,
                token_tiles,
                input_tiles,
                parts.count,
                parts.share,
                dw.row_stride(),
                n * k,
            ),
            MmaType::of(dy.dtype()),
            dy.dtype().elem(),
            dtype.elem(),
        );
    }
    parts.finish(client, dw, false)
}
