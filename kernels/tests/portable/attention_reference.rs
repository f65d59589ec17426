//! Causal attention and its gradients in f64, with what rounding may move each number by.

use tritburn_kernels::FloatType;
use tritburn_kernels::decoder::attention::training::AttentionShape;

use crate::harness::{epsilon, floats, rng};

/// Operands on the host.
pub struct Case {
    pub shape: AttentionShape,
    pub scale: f32,
    pub qkv: Vec<f32>,
    pub d_out: Vec<f32>,
}

/// Numbers and the bounds of their errors.
#[derive(Default)]
pub struct Bounded {
    pub values: Vec<f64>,
    pub bounds: Vec<f64>,
}

/// Results of both passes.
pub struct Expected {
    pub out: Bounded,
    pub statistics: Bounded,
    pub d_qkv: Bounded,
}

/// Relative errors of one rounding.
#[derive(Clone, Copy)]
struct Rounding {
    /// Of an operand of a product that is made on the way: a softmax weight, or its gradient. f32 kernels
    /// make none; tensor cores take them in half precision.
    operand: f64,
    /// Of an output.
    output: f64,
    /// Absolute error where an operand is below the smallest normal number.
    tiny: f64,
    /// Of a score's exponential: sums of f32 in any order, the exponential's own error.
    float: f64,
}

impl Rounding {
    fn of(dtype: FloatType) -> Self {
        // Half of the distance between two numbers.
        let output = epsilon(dtype) / 2.0;
        let tiny = match dtype {
            FloatType::F16 => 2f64.powi(-25),
            _ => 0.0,
        };
        Self {
            operand: if dtype == FloatType::F32 { 0.0 } else { output },
            output,
            tiny,
            float: 4e-6,
        }
    }
}

impl Bounded {
    fn zeros(len: usize) -> Self {
        Self {
            values: vec![0.0; len],
            bounds: vec![0.0; len],
        }
    }

    fn add(&mut self, at: usize, value: f64, bound: f64) {
        self.values[at] += value;
        self.bounds[at] += bound;
    }

    /// Multiplies all by `factor`, then counts one rounding of the output.
    fn finish(&mut self, columns: impl Fn(usize) -> f64, rounding: Rounding) {
        for (i, (value, bound)) in self.values.iter_mut().zip(&mut self.bounds).enumerate() {
            let factor = columns(i);
            *value *= factor;
            *bound *= factor.abs();
            *bound += rounding.output * (value.abs() + *bound) + rounding.tiny + 1e-9;
        }
    }
}

impl Case {
    /// Random operands that `dtype` holds exactly.
    pub fn random(shape: AttentionShape, dtype: FloatType) -> Self {
        let mut rng = rng(shape.length + shape.dim);
        Self {
            shape,
            scale: 1.0 / (shape.dim as f32).sqrt(),
            qkv: floats(&mut rng, shape.tokens() * shape.qkv_cols(), dtype),
            d_out: floats(&mut rng, shape.tokens() * shape.out_cols(), dtype),
        }
    }

    fn head<'a>(&self, data: &'a [f32], cols: usize, token: usize, head: usize) -> &'a [f32] {
        let dim = self.shape.dim;
        &data[token * cols + head * dim..][..dim]
    }

    /// Both passes. An output is `Σ p·v`, the weights `p` rounded by `operand`: off by `operand · Σ p·|v|`.
    /// A gradient of scores is `p · (dp - Δ)` with `Δ = Σ y·dy` of the rounded output: `Δ` is off by
    /// `Σ |dy| · bound(y)`, and the whole is rounded by `operand` once more. Exponentials are off by `float`
    /// times one and the score's sum of magnitudes.
    pub fn expected(&self, dtype: FloatType) -> Expected {
        let rounding = Rounding::of(dtype);
        let shape = self.shape;
        let (dim, length) = (shape.dim, shape.length);
        let (qkv_cols, out_cols) = (shape.qkv_cols(), shape.out_cols());
        let scale = self.scale as f64;
        let mut out = Bounded::zeros(shape.tokens() * out_cols);
        let mut statistics = Bounded::zeros(shape.rows());
        let mut d_qkv = Bounded::zeros(shape.tokens() * qkv_cols);
        for sequence in 0..shape.batch {
            for head in 0..shape.heads {
                let key_head = shape.heads + head / (shape.heads / shape.kv_heads);
                let value_head = key_head + shape.kv_heads;
                for t in 0..length {
                    let token = sequence * length + t;
                    let first = sequence * length;
                    let q = self.head(&self.qkv, qkv_cols, token, head);
                    let dy = self.head(&self.d_out, out_cols, token, head);
                    let keys = (first..=token).map(|j| self.head(&self.qkv, qkv_cols, j, key_head));
                    let (scores, sizes): (Vec<f64>, Vec<f64>) = keys
                        .map(|k| dot(q, k))
                        .map(|(sum, size)| (scale * sum, scale.abs() * size))
                        .unzip();
                    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let total: f64 = scores.iter().map(|s| (s - top).exp()).sum();
                    let statistic = top + total.ln();
                    let slack = rounding.float * (1.0 + sizes.iter().copied().fold(0.0, f64::max));
                    let row = (sequence * shape.heads + head) * length + t;
                    statistics.add(row, statistic, 2.0 * slack);

                    let out_at = token * out_cols + head * dim;
                    let p: Vec<f64> = scores.iter().map(|s| (s - statistic).exp()).collect();
                    for (j, p) in p.iter().enumerate() {
                        let v = self.head(&self.qkv, qkv_cols, first + j, value_head);
                        let off = (rounding.operand + 4.0 * slack) * p + rounding.tiny;
                        for (i, v) in v.iter().enumerate() {
                            let v = *v as f64;
                            out.add(out_at + i, p * v, off * v.abs());
                        }
                    }
                    let y = out_at..out_at + dim;
                    let mut row_of_out = Bounded {
                        values: out.values[y.clone()].to_vec(),
                        bounds: out.bounds[y].to_vec(),
                    };
                    row_of_out.finish(|_| 1.0, rounding);
                    let (mut delta, mut delta_off) = (0.0, 0.0);
                    for (i, dy) in dy.iter().enumerate() {
                        let (y, dy) = (row_of_out.values[i], *dy as f64);
                        delta += y * dy;
                        delta_off += (row_of_out.bounds[i] + slack * y.abs()) * dy.abs();
                    }

                    for (j, p) in p.iter().enumerate() {
                        let other = first + j;
                        let k = self.head(&self.qkv, qkv_cols, other, key_head);
                        let v = self.head(&self.qkv, qkv_cols, other, value_head);
                        let (dp, dp_size) = dot(dy, v);
                        let ds = p * (dp - delta);
                        let p_off = 4.0 * slack * p;
                        let ds_off = rounding.operand * ds.abs()
                            + rounding.tiny
                            + p * (delta_off + slack * (dp_size + delta.abs()))
                            + p_off * (dp - delta).abs();
                        let p_off = p_off + rounding.operand * p + rounding.tiny;
                        for i in 0..dim {
                            let (q, k, dy) = (q[i] as f64, k[i] as f64, dy[i] as f64);
                            let at = |token: usize, head: usize| token * qkv_cols + head * dim + i;
                            d_qkv.add(at(token, head), ds * k, ds_off * k.abs());
                            d_qkv.add(at(other, key_head), ds * q, ds_off * q.abs());
                            d_qkv.add(at(other, value_head), p * dy, p_off * dy.abs());
                        }
                    }
                }
            }
        }
        // Sums of up to `group · length` terms in f32, for which `slack` above has room.
        out.finish(|_| 1.0, rounding);
        let values_from = (shape.heads + shape.kv_heads) * dim;
        let scale_of = |i: usize| {
            if i % qkv_cols < values_from {
                scale
            } else {
                1.0
            }
        };
        d_qkv.finish(scale_of, rounding);
        Expected {
            out,
            statistics,
            d_qkv,
        }
    }

    /// `Σ out · d_out`.
    pub fn loss(&self) -> f64 {
        let out = self.expected(FloatType::F32).out.values;
        let pairs = out.iter().zip(&self.d_out);
        pairs.map(|(y, dy)| y * *dy as f64).sum()
    }
}

/// A dot product, and the sum of its terms' magnitudes.
fn dot(a: &[f32], b: &[f32]) -> (f64, f64) {
    let terms = a.iter().zip(b).map(|(a, b)| *a as f64 * *b as f64);
    terms.fold((0.0, 0.0), |(sum, size), term| {
        (sum + term, size + term.abs())
    })
}
