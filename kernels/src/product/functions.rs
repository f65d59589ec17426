//! The entry points: each checks its operands, as a [`Call`], and runs it.

use cubecl::prelude::*;
use tritburn_formats::ScaleGranularity;

use super::call::{Call, Input, Output, Weights};
use super::launch::run;
use super::plan::Plan;
use super::portable::{affine as portable, gemv::GemvBlueprint};
use super::problem::ActivationType;
use super::select::Strategy;
use crate::device::DeviceFacts;
use crate::error::KernelError;
use crate::operand::{AffineWeights, Buffer, FloatMatrix, FloatVector, QuantizedActivations};

/// `y = x̂ · Ŵᵀ + bias` with int8 activations, in exact i32 sums.
///
/// # Errors
/// [`KernelError`] for operands that do not fit together, see the [module](super).
pub fn w2a8<'a>(
    client: &Client,
    x: &QuantizedActivations,
    weights: impl Into<Weights<'a>>,
    bias: Option<&FloatVector>,
    y: &FloatMatrix,
    strategy: Strategy,
) -> Result<(), KernelError> {
    let (x, y) = (Input::Int8(x), Output::Float(y));
    let call = Call::new(client, x, weights.into(), bias, y, ActivationType::Int8)?;
    run(client, &call, strategy)
}

/// The i32 sums `Σ_k q[m, k] · value[n, k]`, row-major `[M, N]` into `y` (i32, M·N). Weight and
/// token scales are not applied.
///
/// # Errors
/// As [`w2a8`], and [`KernelError::GroupedIntegers`] for scales per group.
pub fn w2a8_i32<'a>(
    client: &Client,
    x: &QuantizedActivations,
    weights: impl Into<Weights<'a>>,
    y: &Buffer,
    strategy: Strategy,
) -> Result<(), KernelError> {
    let weights = weights.into();
    if let ScaleGranularity::Group { size } = weights.layout().scale() {
        return Err(KernelError::GroupedIntegers { size: *size });
    }
    let (x, y) = (Input::Int8(x), Output::Int32(y));
    let call = Call::new(client, x, weights, None, y, ActivationType::Int8)?;
    run(client, &call, strategy)
}

/// `y = x · Ŵᵀ + bias` with float activations, in f32 sums.
///
/// # Errors
/// As [`w2a8`].
pub fn w2a16<'a>(
    client: &Client,
    x: &FloatMatrix,
    weights: impl Into<Weights<'a>>,
    bias: Option<&FloatVector>,
    y: &FloatMatrix,
    strategy: Strategy,
) -> Result<(), KernelError> {
    let activations = ActivationType::Float(x.dtype());
    let (x, y) = (Input::Float(x), Output::Float(y));
    let call = Call::new(client, x, weights.into(), bias, y, activations)?;
    run(client, &call, strategy)
}

/// `y = Q(x) · Ŵᵀ + bias`: quantises the float activations `x` `[M, K]` per token, as
/// [`quantize::activation::launch`](crate::quantize::activation::launch) does, and multiplies as
/// [`w2a8`] does. Every output has the bits that the two calls give, rows with NaN or infinity
/// included (all NaN).
///
/// [`Strategy::Auto`] takes one launch where the model of the device says that it is faster, and
/// otherwise two, with temporaries of `M·K` bytes; a forced plan that
/// [`quantizes`](super::Plan::quantizes) takes one, any other multiplies after the quantiser.
///
/// # Errors
/// As [`w2a8`], and [`KernelError::Plan`] if a forced plan that quantises cannot run: no Hopper
/// GPU, weights that are not prepacked, rows of `x` that do not start at multiples of 16 bytes,
/// that do not end there (one token), or too long.
pub fn w2a8_quantizing<'a>(
    client: &Client,
    x: &FloatMatrix,
    weights: impl Into<Weights<'a>>,
    bias: Option<&FloatVector>,
    y: &FloatMatrix,
    strategy: Strategy,
) -> Result<(), KernelError> {
    let activations = ActivationType::Quantized(x.dtype());
    let (x, y) = (Input::Float(x), Output::Float(y));
    let call = Call::new(client, x, weights.into(), bias, y, activations)?;
    run(client, &call, strategy)
}

/// `y = x · Wᵀ + bias` for float activations `[M, K]` in the order of the inputs and weights
/// `(code - zero) · scale`, which are rounded as
/// [`dequantize`](tritburn_formats::AffineMatrix::dequantize) rounds them. Sums are in f32: an output is
/// within `(K + 4) · 2⁻²³ · (Σ|x·w| + |bias|)` of the exact product, before it is rounded to y's type.
///
/// Where the weights have an order of their columns, the activations are gathered first, in a
/// temporary matrix of their size.
///
/// # Errors
/// [`KernelError`] for operands that do not fit together, see the [module](super);
/// [`KernelError::Plan`] for a forced plan that is no [`Plan::Gemv`] or that the device cannot run.
pub fn affine(
    client: &Client,
    x: &FloatMatrix,
    weights: &AffineWeights,
    bias: Option<&FloatVector>,
    y: &FloatMatrix,
    strategy: Strategy,
) -> Result<(), KernelError> {
    let layout = weights.layout();
    x.check(client, "x", [x.rows(), layout.in_features()])?;
    y.check(client, "y", [x.rows(), layout.out_features()])?;
    weights.check(client)?;
    if let Some(bias) = bias {
        bias.check(client, "bias", layout.out_features())?;
    }
    let plan = match strategy {
        Strategy::Auto => GemvBlueprint::of_tokens(x.rows(), &DeviceFacts::of(client)),
        Strategy::Forced(Plan::Gemv(plan)) => plan,
        Strategy::Forced(plan) => {
            let reason = format!("{plan:?} does not read affine weights");
            return Err(KernelError::Plan { reason });
        }
    };
    match &weights.buffers().order {
        None => portable::launch(client, x, weights, bias, y, plan),
        Some(order) => {
            let x = portable::gathered(client, x, order)?;
            portable::launch(client, &x, weights, bias, y, plan)
        }
    }
}
