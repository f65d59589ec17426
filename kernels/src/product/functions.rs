//! The products, with checked operands.

use cubecl::prelude::*;
use tritburn_formats::ScaleGranularity;

use super::call::{Call, Input, Output, Weights, check};
use super::plan::Strategy;
use super::problem::{ActivationType, MatmulProblem};
use crate::error::KernelError;
use crate::operand::{Buffer, FloatMatrix, FloatVector, QuantizedActivations};
use crate::prepack::FragmentOrder;

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
    let weights = weights.into();
    check(
        client,
        [x.rows(), x.cols()],
        weights,
        bias,
        FragmentOrder::Int8,
    )?;
    y.check(client, "y", [x.rows(), weights.layout().out_features()])?;
    let call = Call {
        problem: MatmulProblem::new(
            x.rows(),
            weights.layout(),
            ActivationType::Int8,
            weights.order(),
        ),
        x: Input::Int8(x),
        weights,
        bias,
        y: Output::Float(y),
    };
    call.run(client, strategy)
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
    check(
        client,
        [x.rows(), x.cols()],
        weights,
        None,
        FragmentOrder::Int8,
    )?;
    if let ScaleGranularity::Group { size } = weights.layout().scale() {
        return Err(KernelError::GroupedIntegers { size: *size });
    }
    y.check_exact("y", x.rows() * weights.layout().out_features())?;
    let call = Call {
        problem: MatmulProblem::new(
            x.rows(),
            weights.layout(),
            ActivationType::Int8,
            weights.order(),
        ),
        x: Input::Int8(x),
        weights,
        bias: None,
        y: Output::Int32(y),
    };
    call.run(client, strategy)
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
    let weights = weights.into();
    check(
        client,
        [x.rows(), x.cols()],
        weights,
        bias,
        FragmentOrder::Half,
    )?;
    let layout = weights.layout();
    x.check(client, "x", [x.rows(), layout.in_features()])?;
    y.check(client, "y", [x.rows(), layout.out_features()])?;
    let call = Call {
        problem: MatmulProblem {
            whole_lines: x.starts_lines(),
            ..MatmulProblem::new(x.rows(), layout, x.dtype().into(), weights.order())
        },
        x: Input::Float(x),
        weights,
        bias,
        y: Output::Float(y),
    };
    call.run(client, strategy)
}
