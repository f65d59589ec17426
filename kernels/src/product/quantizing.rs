//! Products of float activations that are quantised to int8 on the way.

use cubecl::prelude::*;

use super::call::{Call, Input, Output, Weights, check};
use super::functions::w2a8;
use super::plan::Strategy;
use super::problem::MatmulProblem;
use crate::device::DeviceFacts;
use crate::error::KernelError;
use crate::operand::{Buffer, FloatMatrix, FloatVector, QuantizedActivations};
use crate::prepack::FragmentOrder;
use crate::quantize::activation;

/// `y = Q(x) · Ŵᵀ + bias`: quantises the float activations `x` `[M, K]` per token, as
/// [`activation::launch`] does, and multiplies as [`w2a8`] does. Every output has the bits that the two
/// calls give, rows with NaN or infinity included (all NaN).
///
/// [`Strategy::Auto`] takes one launch where the model of the device says that it is faster, and otherwise
/// two, with temporaries of `M·K` bytes; a forced plan that [`quantizes`](super::Plan::quantizes) takes one, any
/// other multiplies after the quantiser.
///
/// # Errors
/// As [`w2a8`], and [`KernelError::Plan`] if a forced plan that quantises cannot run: no Hopper GPU, weights
/// that are not prepacked, rows of `x` that do not start at multiples of 16 bytes, that do not end there
/// (one token), or too long.
pub fn w2a8_quantizing<'a>(
    client: &Client,
    x: &FloatMatrix,
    weights: impl Into<Weights<'a>>,
    bias: Option<&FloatVector>,
    y: &FloatMatrix,
    strategy: Strategy,
) -> Result<(), KernelError> {
    let weights = weights.into();
    let shape = [x.rows(), x.cols()];
    check(client, shape, weights, bias, FragmentOrder::Int8)?;
    let layout = weights.layout();
    x.check(client, "x", shape)?;
    y.check(client, "y", [x.rows(), layout.out_features()])?;
    let device = DeviceFacts::of(client);
    let problem = MatmulProblem {
        whole_lines: x.starts_lines(),
        ..MatmulProblem::new(x.rows(), layout, x.dtype().into(), weights.order())
    };
    let plan = strategy.plan(&problem, &device);
    if !plan.quantizes() {
        let codes = quantized(client, x)?;
        return w2a8(client, &codes, weights, bias, y, strategy);
    }
    let call = Call {
        x: Input::Float(x),
        weights,
        bias,
        y: Output::Float(y),
        problem,
    };
    call.launch(client, &device, plan)
}

/// The activations of `x` as int8, in buffers of their own.
fn quantized(client: &Client, x: &FloatMatrix) -> Result<QuantizedActivations, KernelError> {
    let (rows, cols) = (x.rows(), x.cols());
    let buffer = |words: usize| Buffer::new(client.empty(words * 4), words);
    let codes = buffer(rows * QuantizedActivations::words_per_row(cols));
    let out = QuantizedActivations::new(rows, cols, codes, buffer(rows))?;
    activation::launch(client, x, &out)?;
    Ok(out)
}
