//! Gradients in f64: by central differences, and by the formulas that those confirm.

use tritburn_kernels::decoder::glu::GatedActivation;

pub fn widen(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| x as f64).collect()
}

/// The gradient of `f` at `x` by central differences: off by some 1e-9 of values around 1.
pub fn differences(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let mut x = x.to_vec();
    (0..x.len())
        .map(|i| {
            let at = x[i];
            x[i] = at + STEP;
            let above = f(&x);
            x[i] = at - STEP;
            let below = f(&x);
            x[i] = at;
            (above - below) / (2.0 * STEP)
        })
        .collect()
}

pub const ACTIVATIONS: [GatedActivation; 4] = [
    GatedActivation::SquaredRelu,
    GatedActivation::Silu,
    GatedActivation::Gelu,
    GatedActivation::GeluTanh,
];

/// The gate and its slope; Φ by its power series.
pub fn gate(activation: GatedActivation, x: f64) -> (f64, f64) {
    match activation {
        GatedActivation::SquaredRelu => (x.max(0.0).powi(2), 2.0 * x.max(0.0)),
        GatedActivation::Silu => {
            let s = 1.0 / (1.0 + (-x).exp());
            (x * s, s + x * s * (1.0 - s))
        }
        GatedActivation::Gelu => {
            let (mut term, mut sum) = (x, x);
            for k in 1..200 {
                term *= x * x / (2 * k + 1) as f64;
                sum += term;
            }
            let density = (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt();
            let share = 0.5 + sum * density;
            (x * share, share + x * density)
        }
        GatedActivation::GeluTanh => {
            let root = (2.0 / std::f64::consts::PI).sqrt();
            let tanh = (root * (x + 0.044715 * x.powi(3))).tanh();
            let inner = root * (1.0 + 3.0 * 0.044715 * x * x);
            let share = 0.5 * (1.0 + tanh);
            (x * share, share + 0.5 * x * (1.0 - tanh * tanh) * inner)
        }
    }
}

/// `gate(g) · u` of a row.
pub fn gated_row(activation: GatedActivation, row: &[f64]) -> Vec<f64> {
    let (g, u) = row.split_at(row.len() / 2);
    let pairs = g.iter().zip(u);
    pairs.map(|(g, u)| gate(activation, *g).0 * u).collect()
}

/// Gradients of gate and up of a row, from that of what they make.
pub fn gated_gradient(activation: GatedActivation, row: &[f64], dh: &[f64]) -> Vec<f64> {
    let (g, u) = row.split_at(row.len() / 2);
    let d_gate = (0..g.len()).map(|i| dh[i] * u[i] * gate(activation, g[i]).1);
    let d_up = (0..g.len()).map(|i| dh[i] * gate(activation, g[i]).0);
    d_gate.chain(d_up).collect()
}

/// What the terms of a gate add up to without signs: that of GELU is half of what may cancel out.
pub fn gate_size(activation: GatedActivation, x: f64) -> f64 {
    match activation {
        GatedActivation::Gelu => x.abs(),
        _ => gate(activation, x).0.abs(),
    }
}

/// The sizes of the terms of [`gated_row`].
pub fn gated_row_sizes(activation: GatedActivation, row: &[f64]) -> Vec<f64> {
    let (g, u) = row.split_at(row.len() / 2);
    let pairs = g.iter().zip(u);
    pairs
        .map(|(g, u)| gate_size(activation, *g) * u.abs())
        .collect()
}

/// The sizes of the terms of [`gated_gradient`]: the slope of SiLU is a sum of two.
pub fn gated_sizes(activation: GatedActivation, row: &[f64], dh: &[f64]) -> Vec<f64> {
    let (g, u) = row.split_at(row.len() / 2);
    let slope = |g: f64| gate(activation, g).1.abs() + 2.0 * gate_size(activation, g);
    let d_gate = (0..g.len()).map(|i| (dh[i] * u[i]).abs() * slope(g[i]));
    let d_up = (0..g.len()).map(|i| dh[i].abs() * gate_size(activation, g[i]));
    d_gate.chain(d_up).collect()
}

pub fn rms_scale(h: &[f64], eps: f32) -> f64 {
    let mean = h.iter().map(|h| h * h).sum::<f64>() / h.len() as f64;
    1.0 / (mean + eps as f64).sqrt()
}

/// `gamma · rms_norm(h)` of a row.
pub fn norm_row(h: &[f64], gamma: &[f64], eps: f32) -> Vec<f64> {
    let r = rms_scale(h, eps);
    h.iter().zip(gamma).map(|(h, g)| g * h * r).collect()
}

/// A row's gradient under the norm and its share of gamma's, and of both what their terms add up to
/// without signs: rounding is in proportion to that.
pub struct NormGradient {
    pub dh: Vec<f64>,
    pub dh_size: Vec<f64>,
    pub dgamma: Vec<f64>,
}

pub fn norm_gradient(h: &[f64], gamma: &[f64], eps: f32, dy: &[f64]) -> NormGradient {
    let r = rms_scale(h, eps);
    let d: Vec<f64> = gamma.iter().zip(dy).map(|(g, dy)| g * dy).collect();
    let mean = dot(h, &d) / h.len() as f64;
    let mean_size = h.iter().zip(&d).map(|(h, d)| (h * d).abs()).sum::<f64>() / h.len() as f64;
    let pairs = || h.iter().zip(&d);
    NormGradient {
        dh: pairs().map(|(h, d)| r * (d - h * r * r * mean)).collect(),
        dh_size: pairs()
            .map(|(h, d)| r * (d.abs() + h.abs() * r * r * mean_size))
            .collect(),
        dgamma: h.iter().zip(dy).map(|(h, dy)| dy * h * r).collect(),
    }
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Adds magnitudes.
pub fn add_sizes_to(sum: &mut [f64], terms: &[f64]) {
    let pairs = sum.iter_mut().zip(terms);
    pairs.for_each(|(sum, x)| *sum += x.abs());
}

pub fn add_to(sum: &mut [f64], terms: &[f64]) {
    sum.iter_mut().zip(terms).for_each(|(sum, x)| *sum += x);
}

/// `|found - expected|` within `step` of the element, what sums in f32 lose of terms of `sizes`, and
/// half the smallest f16.
pub fn assert_close(found: &[f32], expected: &[f64], sizes: &[f64], step: f64, what: &str) {
    let bounds = expected.iter().zip(sizes);
    let bounds = bounds.map(|(x, size)| step * x.abs() + 5e-6 * size.abs() + 3.1e-8);
    crate::harness::assert_within(found, expected, &bounds.collect::<Vec<_>>(), what);
}

#[test]
fn formulas_equal_differences() {
    use crate::harness::*;
    let k = 7;
    let mut rng = rng(3);
    let mut numbers = |n| widen(&floats(&mut rng, n, tritburn_kernels::FloatType::F32));
    let (row, gamma, dy) = (numbers(2 * k), numbers(k), numbers(k));
    let assert_same = |a: &[f64], b: &[f64]| {
        let pairs = a.iter().zip(b);
        pairs.for_each(|(a, b)| assert!((a - b).abs() < 1e-7, "{a} {b}"));
    };
    for activation in ACTIVATIONS {
        let y = |row: &[f64], gamma: &[f64]| {
            dot(&norm_row(&gated_row(activation, row), gamma, 1e-5), &dy)
        };
        let h = gated_row(activation, &row);
        let NormGradient { dh, dgamma, .. } = norm_gradient(&h, &gamma, 1e-5, &dy);
        let dx = gated_gradient(activation, &row, &dh);
        assert_same(&dx, &differences(&row, |row| y(row, &gamma)));
        assert_same(&dgamma, &differences(&gamma, |gamma| y(&row, gamma)));
    }
}
