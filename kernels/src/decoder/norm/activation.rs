//! Device code: gates and their slopes.

use cubecl::prelude::*;

use super::base::Source;
use crate::decoder::glu::GatedActivation;

/// What `up` is multiplied by.
#[cube]
pub(crate) fn gate(x: f32, #[comptime] source: Source) -> f32 {
    match comptime!(source) {
        Source::Gated(GatedActivation::Silu) => x * sigmoid(x),
        _ => relu2(x),
    }
}

/// The gate and its derivative.
#[cube]
pub(crate) fn gate_and_slope(x: f32, #[comptime] source: Source) -> (f32, f32) {
    match comptime!(source) {
        Source::Gated(GatedActivation::Silu) => {
            let s = sigmoid(x);
            let value = x * s;
            (value, s + value * (1.0f32 - s))
        }
        _ => {
            let positive = select(x < 0.0f32, 0.0f32, x);
            (positive * positive, 2.0f32 * positive)
        }
    }
}

/// `1 / (1 + exp(-x))`: 0 where `exp(-x)` overflows.
#[cube]
fn sigmoid(x: f32) -> f32 {
    1.0f32 / (1.0f32 + (-x).exp())
}

/// `max(x, 0)²`; NaN stays NaN.
#[cube]
fn relu2(x: f32) -> f32 {
    let positive = select(x < 0.0f32, 0.0f32, x);
    positive * positive
}
