//! Launch of the product that quantises its activations; `product` has checked the operands.

use cubecl::prelude::*;

use super::base::FusedBlueprint;
use super::kernel::fused;
use crate::device::DeviceFacts;
use crate::error::KernelError;
use crate::prepack::PrepackedWeights;
use crate::product::cuda::args::{Binding, product_args};
use crate::product::cuda::input::InputLines;
use crate::product::{ActivationType, Call, Input};

/// Most token tiles of a launch: cubes along y.
const MAX_TOKEN_TILES: usize = 65_535;

/// Runs `call` with `plan`. M = 0 launches nothing.
///
/// # Errors
/// [`KernelError::Plan`] for what the plan or the kernel cannot run, [`KernelError::GridTooLarge`]
/// or [`KernelError::AddressWidth`].
pub(crate) fn launch(
    client: &Client,
    call: &Call<'_>,
    weights: &PrepackedWeights,
    device: &DeviceFacts,
    plan: FusedBlueprint,
) -> Result<(), KernelError> {
    let (problem, fragments) = (&call.problem, weights.fragment_layout());
    let quantized = matches!(problem.activations, ActivationType::Quantized(_));
    let x = match &call.x {
        Input::Float(x) if quantized && x.starts_lines() => x,
        _ => {
            let reason = format!(
                "{plan:?} quantises float activations whose rows start at multiples of 16 bytes; these \
                 are {:?}",
                problem.activations
            );
            return Err(KernelError::Plan { reason });
        }
    };
    let dtype = x.dtype();
    plan.validate(fragments.col_tiles(), dtype, device)?;
    if problem.m == 0 {
        return Ok(());
    }
    let token_tiles = problem.m.div_ceil(plan.tokens);
    if token_tiles > MAX_TOKEN_TILES {
        return Err(KernelError::GridTooLarge {
            items: problem.m,
            max: MAX_TOKEN_TILES * plan.tokens,
        });
    }
    let row_groups = problem.n.div_ceil(plan.rows()).div_ceil(plan.shares);
    let cubes = row_groups * plan.cluster();
    let count = CubeCount::Static(cubes as u32, token_tiles as u32, 1);
    let dim = CubeDim::new_1d(plan.units() as u32);
    let input = InputLines::of(call)?;
    let bound = Binding::of(client, call)?;
    let args = product_args(call, weights, input.tokens, bound.y_stride);
    // SAFETY: `Call` holds operands that fit together, and the kernel stays within them.
    unsafe {
        fused::launch_unchecked(
            client,
            count,
            dim,
            bound.address,
            bound.width,
            input.x,
            args,
            bound.y,
            dtype,
            plan.is_exact(problem.k),
            plan,
            input.dtype,
            bound.y_type,
            bound.bias_type,
        );
    }
    Ok(())
}
