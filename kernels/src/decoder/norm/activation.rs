//! Device code: the gates and their derivatives.

use std::f32::consts::FRAC_1_SQRT_2;

use cubecl::prelude::*;

use super::base::Source;
use crate::decoder::glu::GatedActivation;

/// The gate: what `up` is multiplied by.
#[cube]
pub(crate) fn gate(x: f32, #[comptime] source: Source) -> f32 {
    match comptime!(source) {
        Source::Gated(GatedActivation::Silu) => x * sigmoid(x),
        Source::Gated(GatedActivation::Gelu) => x * normal(x),
        Source::Gated(GatedActivation::GeluTanh) => x * sigmoid(gelu_argument(x)),
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
        Source::Gated(GatedActivation::Gelu) => {
            let share = normal(x);
            (x * share, share + x * normal_density(x))
        }
        Source::Gated(GatedActivation::GeluTanh) => {
            let s = sigmoid(gelu_argument(x));
            let value = x * s;
            let slope = SQRT_8_OVER_PI * (1.0f32 + 3.0f32 * GELU_CUBE * x * x);
            (value, s + value * (1.0f32 - s) * slope)
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

const SQRT_8_OVER_PI: f32 = 1.595_769_2;
const GELU_CUBE: f32 = 0.044_715;
const SQRT_1_OVER_2_PI: f32 = 0.398_942_3;

/// What GELU's approximation takes the sigmoid of.
#[cube]
fn gelu_argument(x: f32) -> f32 {
    SQRT_8_OVER_PI * (x + GELU_CUBE * x * x * x)
}

/// Φ, the share of the normal distribution below x.
#[cube]
#[allow(
    unstable_name_collisions,
    reason = "CubeCL's error function; the standard library has no stable one"
)]
fn normal(x: f32) -> f32 {
    0.5f32 + 0.5f32 * (x * FRAC_1_SQRT_2).erf()
}

/// Φ'.
#[cube]
fn normal_density(x: f32) -> f32 {
    SQRT_1_OVER_2_PI * (-0.5f32 * x * x).exp()
}

/// `max(x, 0)²`; NaN stays NaN.
#[cube]
fn relu2(x: f32) -> f32 {
    let positive = select(x < 0.0f32, 0.0f32, x);
    positive * positive
}
