//! Slow, plain matmuls that every kernel is tested against.
//!
//! `x` is `[M, K]`, the matrix `[N, K]`, results are row-major with N (and G) inside. Int8
//! activations come in rows of `16 · ceil(K / 16)` bytes, as
//! [`QuantizedActivations::bytes`](crate::QuantizedActivations::bytes) gives them; M is the number
//! of whole rows in them and bytes behind K are ignored.
//!
//! The epilogue that kernels follow, in f32, with `s_m` the scale of token m:
//!
//! - scale per tensor, row or segment: `y = acc as f32 · (γ·unit · s_m) + bias`;
//! - scale per group: `y = (Σ_g acc_g as f32 · (γ_g·unit), g ascending from 0.0) · s_m + bias`.
//!
//! `unit` is a power of two, so `γ·unit` is exact. [`rescale`] is that formula with one rounding
//! per operation; [`matmul_w2a8`] and [`matmul_w2a16`] sum in f64 and round once, to tell how far
//! from the truth a kernel is.

use crate::affine::{AffineMatrix, UNIT};
use crate::layout::activation_words_per_row;
use crate::matrix::PackedMatrix;
use crate::scale::ScaleGranularity;

/// `acc[m, n] = Σ_k x[m, k] · value[n, k]`, `[M, N]`. Exact: the layout bounds K.
pub fn matmul_i32(x: &[i8], matrix: &PackedMatrix) -> Vec<i32> {
    let groups = groups(matrix);
    matmul_group_i32(x, matrix)
        .chunks(groups)
        .map(|acc| acc.iter().sum())
        .collect()
}

/// As [`matmul_i32`], each scale group of K summed alone: `[M, N, G]` with G = 1 unless grouped.
pub fn matmul_group_i32(x: &[i8], matrix: &PackedMatrix) -> Vec<i32> {
    let layout = matrix.layout();
    let (n, k, groups) = (layout.out_features(), layout.in_features(), groups(matrix));
    let stride = 4 * activation_words_per_row(k);
    let mut acc = vec![0; x.len() / stride * n * groups];
    for row in 0..n {
        let weights: Vec<i32> = (0..k).filter_map(|col| matrix.value(row, col)).collect();
        for (m, x) in x.chunks_exact(stride).enumerate() {
            for (col, &w) in weights.iter().enumerate() {
                acc[(m * n + row) * groups + col / layout.scale_span()] += w * x[col] as i32;
            }
        }
    }
    acc
}

/// The epilogue in f32, as the [module](self) docs state it. `acc` is `[M, N, G]`, `x_scales`
/// `[M]`, `bias` `[N]`; the result is `[M, N]`. A missing token scale or bias counts as NaN.
pub fn rescale(
    acc: &[i32],
    x_scales: &[f32],
    matrix: &PackedMatrix,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let (layout, groups) = (matrix.layout(), groups(matrix));
    let unit = layout.code().unit();
    let grouped = matches!(layout.scale(), ScaleGranularity::Group { .. });
    acc.chunks(groups)
        .enumerate()
        .map(|(i, acc)| {
            let (m, n) = (i / layout.out_features(), i % layout.out_features());
            let first = layout.scale().index(n, 0, layout.in_features());
            let s_m = at(x_scales, m);
            let y = if grouped {
                let scaled = acc
                    .iter()
                    .zip(&matrix.scales()[first..])
                    .fold(0.0, |y, (&acc, gamma)| y + acc as f32 * (gamma * unit));
                scaled * s_m
            } else {
                acc[0] as f32 * (matrix.scales()[first] * unit * s_m)
            };
            bias.map_or(y, |bias| y + at(bias, n))
        })
        .collect()
}

/// `y = x̂ · Ŵᵀ + bias` with int8 activations: integer sums, rescaled in f64 and rounded once,
/// `[M, N]`. A missing token scale or bias counts as NaN.
pub fn matmul_w2a8(
    x: &[i8],
    x_scales: &[f32],
    matrix: &PackedMatrix,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let (layout, groups) = (matrix.layout(), groups(matrix));
    let unit = layout.code().unit() as f64;
    matmul_group_i32(x, matrix)
        .chunks(groups)
        .enumerate()
        .map(|(i, acc)| {
            let (m, n) = (i / layout.out_features(), i % layout.out_features());
            let first = layout.scale().index(n, 0, layout.in_features());
            let scaled: f64 = acc
                .iter()
                .zip(&matrix.scales()[first..])
                .map(|(&acc, &gamma)| acc as f64 * gamma as f64 * unit)
                .sum();
            let bias = bias.map_or(0.0, |bias| at(bias, n) as f64);
            (scaled * at(x_scales, m) as f64 + bias) as f32
        })
        .collect()
}

/// `y = x · Ŵᵀ + bias` with float activations `[M, K]` (no padding), summed in f64 and rounded
/// once, `[M, N]`. A missing bias counts as NaN.
pub fn matmul_w2a16(x: &[f32], matrix: &PackedMatrix, bias: Option<&[f32]>) -> Vec<f32> {
    let layout = matrix.layout();
    let (n, k) = (layout.out_features(), layout.in_features());
    let unit = layout.code().unit() as f64;
    let mut y = vec![0.0; x.len() / k * n];
    for row in 0..n {
        let weights: Vec<f64> = (0..k)
            .filter_map(|col| {
                let scale = matrix.scales()[layout.scale().index(row, col, k)] as f64;
                Some(matrix.value(row, col)? as f64 * unit * scale)
            })
            .collect();
        let bias = bias.map_or(0.0, |bias| at(bias, row) as f64);
        for (m, x) in x.chunks_exact(k).enumerate() {
            let sum: f64 = x.iter().zip(&weights).map(|(&x, w)| x as f64 * w).sum();
            y[m * n + row] = (sum + bias) as f32;
        }
    }
    y
}

/// `y = x · Ŵᵀ + bias` with float activations `[M, K]` in the order of the inputs, `[M, N]`. Weights
/// are `(code - zero) · scale` in f64 without a rounding, sums are in f64, and rounded once. A
/// missing bias counts as NaN.
pub fn matmul_affine(x: &[f32], matrix: &AffineMatrix, bias: Option<&[f32]>) -> Vec<f32> {
    let layout = matrix.layout();
    let (n, k) = (layout.out_features(), layout.in_features());
    let (codes, (scales, zeros)) = (matrix.codes(), matrix.groups());
    let mut y = vec![0.0; x.len() / k * n];
    for row in 0..n {
        let mut weights = vec![0.0; k];
        for column in 0..k {
            let unit = row * layout.units_per_row() + column / UNIT;
            let kept = matrix.mask().get(unit);
            if kept.is_some_and(|mask| mask >> (column % UNIT) & 1 == 0) {
                continue;
            }
            let group = row * layout.groups_per_row() + column / layout.span();
            let input = matrix
                .order()
                .map_or(column, |order| order[column] as usize);
            let code = f64::from(codes[row * k + column]);
            weights[input] = (code - f64::from(zeros[group])) * f64::from(scales[group]);
        }
        let bias = bias.map_or(0.0, |bias| at(bias, row) as f64);
        for (m, x) in x.chunks_exact(k).enumerate() {
            let sum: f64 = x.iter().zip(&weights).map(|(&x, w)| x as f64 * w).sum();
            y[m * n + row] = (sum + bias) as f32;
        }
    }
    y
}

fn groups(matrix: &PackedMatrix) -> usize {
    let layout = matrix.layout();
    layout.scale().groups_per_row(layout.in_features())
}

fn at(values: &[f32], i: usize) -> f32 {
    values.get(i).copied().unwrap_or(f32::NAN)
}
