//! GPTQ: errors of a column go on to the columns that are quantised later.

use rayon::prelude::*;

use super::driver::{Group, check_weights, matrix};
use super::round::fit;
use crate::affine::{AffineLayout, AffineMatrix};
use crate::error::{MatrixError, check_length};

/// Rows that a task quantises together, so that they share what is read of the factor.
const ROWS: usize = 16;

/// Second moments `Xᵀ X` of a layer's inputs, summed over calibration tokens.
#[derive(Clone, Debug)]
pub struct InputMoments {
    inputs: usize,
    /// Row-major `[in, in]`; only `[i, j]` with `j <= i` count.
    sums: Vec<f64>,
}

impl InputMoments {
    /// No tokens yet, of `inputs` activations each. Takes `8 · inputs²` bytes.
    ///
    /// # Errors
    /// [`MatrixError::Length`] for no inputs, or more than memory can be counted for.
    pub fn new(inputs: usize) -> Result<Self, MatrixError> {
        let len = inputs
            .checked_mul(inputs)
            .filter(|&len| len > 0 && len < 1 << 40);
        let len = len.ok_or(MatrixError::Length {
            what: "inputs",
            found: inputs,
            expected: inputs.clamp(1, 1 << 20),
        })?;
        Ok(Self {
            inputs,
            sums: vec![0.0; len],
        })
    }

    /// Adds tokens: activations `[tokens, in]`.
    ///
    /// # Errors
    /// [`MatrixError::Length`] if they are no whole tokens, [`MatrixError::NonFinite`] with the token
    /// and the input of the first activation that is not finite.
    pub fn add(&mut self, activations: &[f32]) -> Result<(), MatrixError> {
        let k = self.inputs;
        let tokens = activations.len() / k;
        check_length("activations", activations.len(), tokens * k)?;
        if let Some(at) = activations.iter().position(|x| !x.is_finite()) {
            return Err(MatrixError::NonFinite {
                row: at / k,
                col: at % k,
                value: activations[at],
            });
        }
        self.sums
            .par_chunks_mut(k)
            .enumerate()
            .for_each(|(i, sums)| {
                for x in activations.chunks_exact(k) {
                    let factor = f64::from(x[i]);
                    for (sum, &x) in sums[..=i].iter_mut().zip(x) {
                        *sum += factor * f64::from(x);
                    }
                }
            });
        Ok(())
    }

    fn get(&self, i: usize, j: usize) -> f64 {
        self.sums[i.max(j) * self.inputs + i.min(j)]
    }
}

/// Settings of [`second_order`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SecondOrder {
    /// What is added to the diagonal of the moments, relative to its mean.
    pub damping: f64,
}

impl Default for SecondOrder {
    fn default() -> Self {
        Self { damping: 0.01 }
    }
}

/// Quantises row-major weights `[out, in]` for small errors of the outputs on the activations that
/// `moments` saw.
///
/// Columns are quantised one after the other. With `U` the upper triangle of `(H + λ)⁻¹ = Uᵀ U`, the
/// error of column `c` moves the later columns by `w_j -= (w_c - ŵ_c) · U[c, j] / U[c, c]`. Scales and
/// zero points of a group are those that [`round_to_nearest`](super::round_to_nearest) finds for its
/// weights as they are when its first column is reached. A layout with an order takes the
/// columns of the largest moments first (`desc_act`), and groups them in that order. Source:
/// E. Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
/// Transformers", 2022, Algorithm 1.
///
/// # Errors
/// [`MatrixError::Length`], [`MatrixError::NonFinite`], [`MatrixError::ScaleOverflow`];
/// [`MatrixError::Unexpected`] for a sparse layout; [`MatrixError::Moments`] where the moments have
/// no inverse, which damping prevents.
///
/// # Examples
///
/// ```
/// use tritburn_formats::affine::{AffineLayout, Bits};
/// use tritburn_formats::quantize::affine::{InputMoments, SecondOrder, second_order};
///
/// let layout = AffineLayout::new([1, 32], Bits::Two, None)?;
/// let weights: Vec<f32> = (0..32).map(|i| (i as f32).sin()).collect();
/// let mut moments = InputMoments::new(32)?;
/// moments.add(&(0..640).map(|i| (i as f32 * 0.3).cos()).collect::<Vec<_>>())?;
/// let matrix = second_order(&weights, &layout, &moments, &SecondOrder::default())?;
/// assert_eq!(matrix.codes().len(), 32);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn second_order(
    weights: &[f32],
    layout: &AffineLayout,
    moments: &InputMoments,
    settings: &SecondOrder,
) -> Result<AffineMatrix, MatrixError> {
    check_weights(weights, layout)?;
    if layout.is_sparse() {
        return Err(MatrixError::Unexpected { what: "masks" });
    }
    let (k, span, groups) = (layout.in_features(), layout.span(), layout.groups_per_row());
    check_length("inputs of the moments", moments.inputs, k)?;
    let mut order: Vec<u32> = (0..k as u32).collect();
    if layout.is_permuted() {
        let moment = |input: u32| moments.get(input as usize, input as usize);
        order.sort_by(|&a, &b| moment(b).total_cmp(&moment(a)));
    }
    let factor = factor(moments, &order, settings.damping)?;
    let mut codes = vec![0u8; layout.weight_count()];
    let mut fitted = vec![Group::UNFITTED; layout.group_count()];
    codes
        .par_chunks_mut(ROWS * k)
        .zip(weights.par_chunks(ROWS * k))
        .zip(fitted.par_chunks_mut(ROWS * groups))
        .for_each(|((codes, weights), fitted)| {
            let mut rows: Vec<f64> = Vec::with_capacity(weights.len());
            for row in weights.chunks(k) {
                rows.extend(order.iter().map(|&input| f64::from(row[input as usize])));
            }
            let mut group = Vec::with_capacity(span);
            for column in 0..k {
                let factor = &factor[column * k..][..k];
                for (r, row) in rows.chunks_mut(k).enumerate() {
                    let fitted = &mut fitted[r * groups + column / span];
                    if column % span == 0 {
                        group.clear();
                        let end = k.min(column + span);
                        group.extend(row[column..end].iter().map(|&w| w as f32));
                        *fitted = fit(&group, layout);
                    }
                    let code = fitted.code(row[column] as f32, layout.bits());
                    codes[r * k + column] = code;
                    let error = row[column] - f64::from(fitted.weight(code));
                    let error = error / factor[column];
                    for (w, u) in row[column + 1..].iter_mut().zip(&factor[column + 1..]) {
                        *w -= error * u;
                    }
                }
            }
        });
    let order = layout.is_permuted().then_some(order);
    matrix(layout, &codes, vec![], &fitted, order)
}

/// `U` of `(H + λ)⁻¹ = Uᵀ U`, rows and columns in `order`. With the columns turned round, `H + λ` is
/// `M Mᵀ` for a lower triangle `M`; turned back, `H + λ = R Rᵀ` for an upper one, and `U = R⁻¹`.
fn factor(moments: &InputMoments, order: &[u32], damping: f64) -> Result<Vec<f64>, MatrixError> {
    let k = order.len();
    let mean = (0..k).map(|i| moments.get(i, i)).sum::<f64>() / k as f64;
    let damping = if mean > 0.0 { damping * mean } else { 1.0 };
    let input = |turned: usize| order[k - 1 - turned] as usize;
    let mut lower = vec![0.0; k * k];
    lower.par_chunks_mut(k).enumerate().for_each(|(i, row)| {
        for (j, value) in row[..=i].iter_mut().enumerate() {
            *value = moments.get(input(i), input(j));
        }
        row[i] += damping;
    });
    for j in 0..k {
        let (done, rest) = lower.split_at_mut((j + 1) * k);
        let row = &mut done[j * k..];
        let pivot = row[j] - dot(&row[..j], &row[..j]);
        if pivot.is_nan() || pivot <= 0.0 {
            return Err(MatrixError::Moments { input: input(j) });
        }
        row[j] = pivot.sqrt();
        let row = &row[..=j];
        rest.par_chunks_mut(k).with_min_len(64).for_each(|below| {
            below[j] = (below[j] - dot(&below[..j], &row[..j])) / row[j];
        });
    }
    // Chunk c is column c of M⁻¹, by forward substitution.
    let mut inverse = vec![0.0; k * k];
    inverse
        .par_chunks_mut(k)
        .enumerate()
        .for_each(|(c, column)| {
            column[c] = 1.0 / lower[c * k + c];
            for i in c + 1..k {
                let row = &lower[i * k..][..k];
                column[i] = -dot(&row[c..i], &column[c..i]) / row[i];
            }
        });
    // U[a, b] = M⁻¹[k - 1 - a, k - 1 - b].
    let mut upper = vec![0.0; k * k];
    upper.par_chunks_mut(k).enumerate().for_each(|(a, row)| {
        for (b, value) in row.iter_mut().enumerate().skip(a) {
            *value = inverse[(k - 1 - b) * k + k - 1 - a];
        }
    });
    Ok(upper)
}

/// `Σ a·b` in eight sums.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    for (a, b) in a.iter().zip(b) {
        for l in 0..8 {
            lanes[l] += a[l] * b[l];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f64>() + rest
}
