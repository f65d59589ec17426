//! Launches a call: plan, quantise first if the schedule says so, multiply.

use cubecl::prelude::*;

use super::call::{Call, Input, Weights};
use super::plan::Plan;
use super::select::Strategy;
use super::{cuda, portable, tune};
use crate::device::DeviceFacts;
use crate::error::KernelError;
use crate::operand::{Buffer, FloatMatrix, QuantizedActivations};
use crate::quantize::activation;

/// Plans `call` by `strategy` and launches it.
pub(super) fn run(client: &Client, call: &Call<'_>, strategy: Strategy) -> Result<(), KernelError> {
    let device = DeviceFacts::of(client);
    let schedule = strategy.plan(&call.problem, &device);
    match call.x {
        Input::Float(x) if schedule.quantize_first => {
            let codes = quantized(client, x)?;
            let call = call.after_quantizer(&codes);
            multiply(client, &device, &call, strategy, schedule.plan)
        }
        _ => multiply(client, &device, call, strategy, schedule.plan),
    }
}

/// Launches `plan`. With [`Strategy::Auto`] and the tuner on, launches the plan that measured fastest.
fn multiply(
    client: &Client,
    device: &DeviceFacts,
    call: &Call<'_>,
    strategy: Strategy,
    plan: Plan,
) -> Result<(), KernelError> {
    if strategy == Strategy::Auto && tune::run(client, call, device) {
        return Ok(());
    }
    launch(client, device, call, plan)
}

/// Quantises `x` to int8, in temporary buffers.
fn quantized(client: &Client, x: &FloatMatrix) -> Result<QuantizedActivations, KernelError> {
    let (rows, cols) = (x.rows(), x.cols());
    let buffer = |words: usize| Buffer::new(client.empty(words * 4), words);
    let codes = buffer(rows * QuantizedActivations::words_per_row(cols));
    let out = QuantizedActivations::new(rows, cols, codes, buffer(rows))?;
    activation::launch(client, x, &out)?;
    Ok(out)
}

/// Launches `plan` for `call`. M = 0 launches nothing.
///
/// # Errors
/// [`KernelError::Plan`] if the plan cannot run the call, [`KernelError::GridTooLarge`] or
/// [`KernelError::AddressWidth`].
pub(super) fn launch(
    client: &Client,
    device: &DeviceFacts,
    call: &Call<'_>,
    plan: Plan,
) -> Result<(), KernelError> {
    match (plan, call.weights) {
        (Plan::Gemm(plan), Weights::Canonical(weights)) => {
            portable::gemm::launch(client, call, weights, device, plan)
        }
        (Plan::Gemv(plan), Weights::Canonical(weights)) => {
            portable::gemv::launch(client, call, weights, device, plan)
        }
        (Plan::Skinny(plan), Weights::Prepacked(weights)) => {
            cuda::skinny::launch(client, call, weights, device, plan)
        }
        (Plan::Wgmma(plan), Weights::Prepacked(weights)) => {
            cuda::wgmma::launch(client, call, weights, device, plan)
        }
        (Plan::Fused(plan), Weights::Prepacked(weights)) => {
            cuda::wgmma_fused::launch(client, call, weights, device, plan)
        }
        (Plan::Mma(plan), Weights::Prepacked(weights)) => {
            cuda::mma::launch(client, call, weights, device, plan)
        }
        (Plan::Wmma(plan), Weights::Prepacked(weights)) => {
            cuda::wmma::launch(client, call, weights, device, plan)
        }
        (plan, weights) => {
            let order = weights.order();
            let reason = format!("{plan:?} does not read weights in order {order:?}");
            Err(KernelError::Plan { reason })
        }
    }
}
