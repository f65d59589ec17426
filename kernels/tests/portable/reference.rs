//! Host references of the language-model kernels, in f64.

use tritburn_kernels::FloatType;

use crate::harness::{epsilon, round_to};

/// `x + residual`, rounded to `dtype`.
pub fn sum(x: &[f32], residual: &[f32], dtype: FloatType) -> Vec<f32> {
    let pairs = x.iter().zip(residual);
    pairs.map(|(a, b)| round_to(a + b, dtype)).collect()
}

/// `gamma · rms_norm(x)` of rows of `gamma.len()`.
pub fn rms_norm(x: &[f64], gamma: &[f32], eps: f32) -> Vec<f64> {
    let k = gamma.len();
    let row = |row: &[f64]| {
        let mean = row.iter().map(|x| x * x).sum::<f64>() / k as f64;
        let r = 1.0 / (mean + eps as f64).sqrt();
        let values = row.iter().zip(gamma);
        values.map(|(x, g)| *g as f64 * x * r).collect::<Vec<_>>()
    };
    x.chunks(k).flat_map(row).collect()
}

/// `relu(gate)² · up` of rows of `2 · inner`.
pub fn relu2(gate_up: &[f32], inner: usize) -> Vec<f64> {
    let row = |row: &[f32]| {
        let (gate, up) = row.split_at(inner);
        let values = gate.iter().zip(up);
        values
            .map(|(g, u)| (*g as f64).max(0.0).powi(2) * *u as f64)
            .collect::<Vec<_>>()
    };
    gate_up.chunks(2 * inner).flat_map(row).collect()
}

/// Checks int8 codes of rows of `y`, whose f32 form is off by a few ulp: a code may be the other
/// one only where `y / scale` is that close to the middle between two.
pub fn assert_quantised(codes: &[u32], scales: &[f32], y: &[f64], k: usize, what: &str) {
    let words = 4 * k.div_ceil(16);
    for (row, y) in y.chunks(k).enumerate() {
        let top = y.iter().fold(0.0f64, |top, y| top.max(y.abs()));
        let scale = top.max(1e-5) / 127.0;
        let found = scales[row] as f64;
        assert!(
            (found - scale).abs() <= 1e-5 * scale,
            "{what}: scale {row} is {found:e}, expected {scale:e}"
        );
        let codes = codes[row * words..(row + 1) * words].iter();
        let codes: Vec<i8> = codes
            .flat_map(|word| word.to_le_bytes())
            .map(|byte| byte as i8)
            .collect();
        for (i, (code, y)) in codes.iter().zip(y).enumerate() {
            let exact = y / scale;
            let off = (*code as f64 - exact).abs();
            assert!(
                off <= 0.5005,
                "{what}: [{row}, {i}] is {code}, expected {exact}"
            );
        }
        assert!(codes[k..].iter().all(|&code| code == 0), "{what}: padding");
    }
}

/// A head of `x` at an angle table's row, in the half-split order.
pub fn rotate(x: &[f32], table: &[f32]) -> Vec<f64> {
    let half = x.len() / 2;
    let at = |d: usize| x[d] as f64;
    let cos = |d: usize| table[d] as f64;
    let sin = |d: usize| table[half + d] as f64;
    let low = (0..half).map(|d| at(d) * cos(d) - at(d + half) * sin(d));
    let high = (0..half).map(|d| at(d + half) * cos(d) + at(d) * sin(d));
    low.chain(high).collect()
}

/// Attention of one query over `keys` and `values` `[len, dim]`.
pub fn attend(q: &[f32], keys: &[f32], values: &[f32], scale: f32) -> Vec<f64> {
    let dim = q.len();
    let dot = |k: &[f32]| -> f64 {
        let terms = q.iter().zip(k).map(|(a, b)| *a as f64 * *b as f64);
        terms.sum::<f64>() * scale as f64
    };
    let scores: Vec<f64> = keys.chunks(dim).map(dot).collect();
    let top = scores.iter().fold(f64::MIN, |top, s| top.max(*s));
    let weights: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut out = vec![0.0; dim];
    for (weight, value) in weights.iter().zip(values.chunks(dim)) {
        for (out, value) in out.iter_mut().zip(value) {
            *out += weight / total * *value as f64;
        }
    }
    out
}

/// `x · wᵀ` of rows of `k`, and for each output the sum of the magnitudes of its terms.
pub fn product(x: &[f32], w: &[f32], k: usize) -> (Vec<f64>, Vec<f64>) {
    let rows = x.chunks(k).flat_map(|x| w.chunks(k).map(move |w| (x, w)));
    let terms = |(x, w): (&[f32], &[f32])| {
        let terms = x.iter().zip(w).map(|(x, w)| *x as f64 * *w as f64);
        terms.fold((0.0, 0.0), |(sum, size), term| {
            (sum + term, size + term.abs())
        })
    };
    rows.map(terms).unzip()
}

/// `x · wᵀ + bias` of rows of `k`, and how far each output may be off by the rounding of K products and sums in
/// f32, of the bias, and to `dtype`.
pub fn linear(
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    k: usize,
    dtype: FloatType,
) -> (Vec<f64>, Vec<f64>) {
    let n = w.len() / k;
    let (mut expected, mut bounds) = (vec![], vec![]);
    for m in 0..x.len() / k {
        for row in 0..n {
            let bias = bias.map_or(0.0, |b| b[row] as f64);
            let terms = (0..k).map(|i| x[m * k + i] as f64 * w[row * k + i] as f64);
            let (sum, size) = terms.fold((bias, bias.abs()), |(s, a), t| (s + t, a + t.abs()));
            expected.push(sum);
            let f32_steps = (k + 4) as f64 * epsilon(FloatType::F32);
            bounds.push(size * f32_steps + sum.abs() * epsilon(dtype) + 1e-7);
        }
    }
    (expected, bounds)
}

/// The column of the largest, the lowest of equals; `row.len()` if there is a NaN.
pub fn argmax(row: &[f32]) -> u32 {
    if row.iter().any(|x| x.is_nan()) {
        return row.len() as u32;
    }
    let mut best = 0;
    for (i, x) in row.iter().enumerate() {
        if *x > row[best] {
            best = i;
        }
    }
    best as u32
}
