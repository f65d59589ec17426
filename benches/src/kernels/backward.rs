//! The two gradients of the training operation.

use anyhow::{Context, Result};
use tritburn_formats::{PackedMatrix, WeightCode};
use tritburn_kernels::{FloatMatrix, PackedWeights, QuantizedActivations, backward};

use super::Bench;
use super::matmul::{format_name, rounding};
use super::operands::Output;
use crate::check::close;
use crate::data::{Activations, DISTINCT_ROWS, spread, weights};
use crate::row::{Case, PeerTimes, Row};
use crate::suite::Suite;

/// Rows and columns of a gradient that are compared with the reference.
const CHECKED: usize = 16;

/// Which gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gradient {
    /// `dX = dY · Ŵ`.
    Input,
    /// `dW = dYᵀ · X̂`.
    Weight,
}

/// Runs both gradients at `[m, n, k]`; `peers` measures the other implementations of one.
///
/// # Errors
/// A result that differs from the reference, or a device that refuses.
pub fn run(
    bench: &Bench,
    shape: [usize; 3],
    mut peers: impl FnMut(Gradient) -> PeerTimes,
    mut done: impl FnMut(Row),
) -> Result<()> {
    let case = Operands::new(bench, shape)?;
    for gradient in [Gradient::Input, Gradient::Weight] {
        let row = case.row(gradient, peers(gradient));
        done(row.with_context(|| format!("gradient {gradient:?} of {shape:?}"))?);
    }
    Ok(())
}

struct Operands<'a> {
    bench: &'a Bench,
    shape: [usize; 3],
    matrix: PackedMatrix,
    copies: Vec<PackedWeights>,
    gradients: Activations,
    tokens: Activations,
    dy: FloatMatrix,
    x: QuantizedActivations,
    dx: Output,
    dw: Output,
}

impl<'a> Operands<'a> {
    fn new(bench: &'a Bench, [m, n, k]: [usize; 3]) -> Result<Self> {
        let matrix = weights(3, n, k, WeightCode::Ternary)?;
        let count = bench.cold_bytes.div_ceil(n * k / 4).clamp(1, 64);
        let (gradients, tokens) = (Activations::random(4, m, n)?, Activations::random(5, m, k)?);
        Ok(Self {
            copies: (0..count)
                .map(|_| bench.packed(&matrix))
                .collect::<Result<_>>()?,
            dy: bench.floats(&gradients, n)?,
            x: bench.quantized(&tokens, k)?,
            dx: bench.output([m, k])?,
            dw: bench.output([n, k])?,
            shape: [m, n, k],
            bench,
            matrix,
            gradients,
            tokens,
        })
    }

    fn call(&self, gradient: Gradient, copy: usize) -> Result<()> {
        let client = &self.bench.client;
        match gradient {
            Gradient::Input => {
                let weights = &self.copies[copy];
                backward::input(client, &self.dy, weights, &self.dx.matrix)?;
            }
            Gradient::Weight => {
                backward::weight(client, &self.dy, &self.x, &self.dw.matrix)?;
            }
        }
        Ok(())
    }

    fn row(&self, gradient: Gradient, peers: PeerTimes) -> Result<Row> {
        if self.bench.check {
            self.call(gradient, 0)?;
            match gradient {
                Gradient::Input => self.check_input()?,
                Gradient::Weight => self.check_weight()?,
            }
        }
        let copies = self.copies.len();
        let timing = self.bench.time(copies, |copy| self.call(gradient, copy))?;
        let case = Case {
            suite: Suite::Train,
            op: match gradient {
                Gradient::Input => "backward_input",
                Gradient::Weight => "backward_weight",
            },
            format: format_name(&self.matrix),
            activations: self.bench.float.to_string(),
            shape: self.shape,
            products: 1,
            reads_weights: gradient == Gradient::Input,
        };
        let name = match gradient {
            Gradient::Input => "backward::input",
            Gradient::Weight => "backward::weight",
        };
        Ok(case.row(name.into(), timing, peers))
    }

    fn check_input(&self) -> Result<()> {
        let [m, n, k] = self.shape;
        let cols = spread(k, CHECKED);
        let scale = self.matrix.scales()[0] as f64;
        for row in spread(m, CHECKED) {
            let dy = self.gradients.row(row);
            let terms = |col| (0..n).map(move |n| (n, col));
            let products = |col| {
                terms(col).filter_map(|(n, col)| {
                    Some(dy[n] as f64 * self.matrix.value(n, col)? as f64 * scale)
                })
            };
            self.compare(&self.dx, row, &cols, products)?;
        }
        Ok(())
    }

    fn check_weight(&self) -> Result<()> {
        let [m, n, k] = self.shape;
        let cols = spread(k, CHECKED);
        for row in spread(n, CHECKED) {
            let products = |col: usize| {
                (0..m).map(move |m| {
                    let (x, scale) = self.tokens.quantized_row(m);
                    self.gradients.row(m)[row] as f64 * x[col] as f64 * scale as f64
                })
            };
            self.compare(&self.dw, row, &cols, products)?;
        }
        Ok(())
    }

    /// Compares one row of `output` at `cols` with the sums of `products`.
    fn compare<I: Iterator<Item = f64>>(
        &self,
        output: &Output,
        row: usize,
        cols: &[usize],
        products: impl Fn(usize) -> I,
    ) -> Result<()> {
        let found = output.row(self.bench, row)?;
        let rounding = rounding(self.bench.float);
        for &col in cols {
            let sum: f64 = products(col).sum();
            // Tensor cores see bf16 operands: each product may be off by one rounding, which adds
            // up like noise, over repeated tokens like a sum.
            let repeats = (self.shape[0] as f64 / DISTINCT_ROWS as f64).max(1.0);
            let squares: f64 = products(col).map(|product| product * product).sum();
            let noise = ((repeats * squares).sqrt() * 0.006) as f32;
            close(&found[col..=col], &[sum as f32], |e| {
                e.abs() * rounding + noise
            })?;
        }
        Ok(())
    }
}
