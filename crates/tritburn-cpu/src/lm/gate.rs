//! Gated units: one half of a row decides how much of the other half passes.

use std::f32::consts::FRAC_1_SQRT_2;

use super::norm::{Sink, Source, row_count, run};
use super::operands::RmsNorm;
use crate::error::{CpuError, area, expect_len};
use crate::isa::Isa;
use crate::parallel::OutPtr;

/// What is applied to the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GatedActivation {
    /// `relu(g)²` (So et al. 2021, arXiv 2109.08668).
    SquaredRelu,
    /// `g · σ(g)`, which makes the unit SwiGLU (Shazeer 2020, arXiv 2002.05202).
    Silu,
    /// `g · Φ(g)` with the normal distribution's Φ (Hendrycks & Gimpel 2016, arXiv 1606.08415).
    Gelu,
    /// GELU with `Φ(g) ≈ σ(√(8/π) · (g + 0.044715 g³))`, as Gemma has it (the same paper).
    GeluTanh,
}

impl GatedActivation {
    /// `h = f(gate) · up`.
    #[inline(always)]
    pub(crate) fn apply(self, gate: &[f32], up: &[f32], h: &mut [f32]) {
        let operands = h.iter_mut().zip(gate.iter().zip(up));
        match self {
            Self::SquaredRelu => operands.for_each(|(h, (&gate, up))| {
                let gate = relu(gate);
                *h = gate * gate * up;
            }),
            Self::Silu => operands.for_each(|(h, (&gate, up))| *h = gate * sigmoid(gate) * up),
            Self::Gelu => operands.for_each(|(h, (&gate, up))| *h = gate * normal(gate) * up),
            Self::GeluTanh => operands.for_each(|(h, (&gate, up))| {
                *h = gate * sigmoid(gelu_argument(gate)) * up;
            }),
        }
    }

    /// `f(gate)` and `f'(gate)`.
    #[inline(always)]
    pub(crate) fn value_and_slope(self, gate: f32) -> (f32, f32) {
        match self {
            Self::SquaredRelu => {
                let gate = relu(gate);
                (gate * gate, 2.0 * gate)
            }
            Self::Silu => {
                let s = sigmoid(gate);
                (gate * s, s * (1.0 + gate * (1.0 - s)))
            }
            Self::Gelu => {
                let share = normal(gate);
                (gate * share, share + gate * normal_density(gate))
            }
            Self::GeluTanh => {
                let s = sigmoid(gelu_argument(gate));
                let slope = SQRT_8_OVER_PI * (1.0 + 3.0 * GELU_CUBE * gate * gate);
                (gate * s, s * (1.0 + gate * (1.0 - s) * slope))
            }
        }
    }
}

/// A NaN is not below zero, so it stays.
#[inline(always)]
fn relu(gate: f32) -> f32 {
    if gate < 0.0 { 0.0 } else { gate }
}

#[inline(always)]
fn sigmoid(gate: f32) -> f32 {
    1.0 / (1.0 + (-gate).exp())
}

/// What GELU's approximation takes the sigmoid of: √(8/π) times the gate and a share of its cube.
#[inline(always)]
fn gelu_argument(gate: f32) -> f32 {
    SQRT_8_OVER_PI * (gate + GELU_CUBE * gate * gate * gate)
}

const SQRT_8_OVER_PI: f32 = 1.595_769_2;
const GELU_CUBE: f32 = 0.044_715;

/// Φ: the share of the normal distribution below `gate`. The complement keeps its digits where Φ is small.
#[inline(always)]
fn normal(gate: f32) -> f32 {
    0.5 * libm::erfcf(-gate * FRAC_1_SQRT_2)
}

/// Φ'.
#[inline(always)]
fn normal_density(gate: f32) -> f32 {
    const SQRT_1_OVER_2_PI: f32 = 0.398_942_3;
    SQRT_1_OVER_2_PI * (-0.5 * gate * gate).exp()
}

/// A gated unit: the activation of its gate, and the norm of its output if it has one.
#[derive(Clone, Copy, Debug)]
pub struct Gate<'a> {
    /// What is applied to the gate.
    pub activation: GatedActivation,
    /// Normalises the gated rows.
    pub norm: Option<RmsNorm<'a>>,
}

/// `y = norm(f(gate) · up)` for `gate_up` `[T, 2·k]`, gate columns first, y `[T, k]`.
///
/// # Errors
/// [`CpuError::EmptyRow`] if `k` is zero, [`CpuError::Length`] if a slice does not fit.
pub fn gated(gate_up: &[f32], k: usize, gate: Gate<'_>, y: &mut [f32]) -> Result<(), CpuError> {
    gated_with(Isa::detect(), gate_up, k, gate, y)
}

/// [`gated`] on a given instruction set; all give the same bits.
///
/// # Errors
/// Those of [`gated`], and [`CpuError::Unavailable`].
pub fn gated_with(
    isa: Isa,
    gate_up: &[f32],
    k: usize,
    gate: Gate<'_>,
    y: &mut [f32],
) -> Result<(), CpuError> {
    isa.require()?;
    let (tokens, source) = gate.source(gate_up, k)?;
    expect_len("y", y.len(), gate_up.len() / 2)?;
    let sink = Sink::Float(OutPtr::new(y));
    run(isa, tokens, k, gate.norm, source, sink);
    Ok(())
}

/// [`gated`], its result quantised as [`quantize_activations`](crate::quantize_activations) would:
/// the same codes `[T, 4·ceil(k / 16)]` and scales `[T]`, bit for bit.
///
/// # Errors
/// As [`gated`].
pub fn gated_quantize(
    gate_up: &[f32],
    k: usize,
    gate: Gate<'_>,
    codes: &mut [u32],
    scales: &mut [f32],
) -> Result<(), CpuError> {
    gated_quantize_with(Isa::detect(), gate_up, k, gate, codes, scales)
}

/// [`gated_quantize`] on a given instruction set; all give the same bits.
///
/// # Errors
/// Those of [`gated`], and [`CpuError::Unavailable`].
pub fn gated_quantize_with(
    isa: Isa,
    gate_up: &[f32],
    k: usize,
    gate: Gate<'_>,
    codes: &mut [u32],
    scales: &mut [f32],
) -> Result<(), CpuError> {
    isa.require()?;
    let (tokens, source) = gate.source(gate_up, k)?;
    let sink = Sink::codes(tokens, k, codes, scales)?;
    run(isa, tokens, k, gate.norm, source, sink);
    Ok(())
}

impl Gate<'_> {
    /// The number of rows in `gate_up` and where they come from.
    fn source<'a>(&self, gate_up: &'a [f32], k: usize) -> Result<(usize, Source<'a>), CpuError> {
        let tokens = self.rows(gate_up, k)?;
        let activation = self.activation;
        Ok((
            tokens,
            Source::Gate {
                gate_up,
                activation,
            },
        ))
    }

    /// The number of rows in `gate_up`.
    pub(crate) fn rows(&self, gate_up: &[f32], k: usize) -> Result<usize, CpuError> {
        let tokens = row_count("gate_up", gate_up.len(), area(2, k)?)?;
        if let Some(norm) = self.norm {
            expect_len("gamma", norm.gamma.len(), k)?;
        }
        Ok(tokens)
    }
}
