//! A layer's forward and backward pass through Burn: the training operation, and Burn's `linear`.

use anyhow::{Result, ensure};
use burn::tensor::module::linear;
use burn::tensor::{DType, Device, Distribution, Tensor};
use tritburn::{InputPrecision, PackedLayout, ScaleGranularity, WeightCode, ops};

use crate::check::floats;
use crate::data::spread;
use crate::timing::{Plan, Timing};

/// Rows and columns of a gradient that are compared with the reference.
const CHECKED: usize = 8;

/// Where and how to measure.
pub struct Bench<'a> {
    /// The device, without autodiff.
    pub device: &'a Device,
    /// The plan.
    pub plan: Plan,
    /// Type of the operands.
    pub dtype: DType,
    /// Whether results are compared with a reference first.
    pub check: bool,
}

impl Bench<'_> {
    fn random(&self, shape: [usize; 2]) -> Tensor<2> {
        let device = self.device.clone().autodiff();
        let normal = Distribution::Normal(0.0, 1.0);
        Tensor::random(shape, normal, (&device, self.dtype)).require_grad()
    }

    /// `bit_linear` with the gradients of `x` `[m, k]` and the latent weight `[n, k]`.
    ///
    /// # Errors
    /// Operands that are refused, or a gradient that is wrong.
    pub fn bit_linear(&self, [m, n, k]: [usize; 3]) -> Result<Timing> {
        let scale = ScaleGranularity::Tensor;
        let layout = PackedLayout::new(n, k, WeightCode::Ternary, scale)?;
        let (x, weight) = (self.random([m, k]), self.random([n, k]));
        let forward = || {
            let (x, weight) = (x.clone(), weight.clone());
            ops::bit_linear(x, weight, None, &layout, InputPrecision::Int8)
        };
        if self.check {
            let grads = forward()?.backward();
            let (Some(dx), Some(dw)) = (x.grad(&grads), weight.grad(&grads)) else {
                anyhow::bail!("a gradient is missing");
            };
            self.check(&x.clone().inner(), &weight.clone().inner(), &layout, dx, dw)?;
        }
        // One call before the clock starts shows whether it works at all.
        forward()?.backward();
        let mut last = None;
        Ok(self.plan.time(self.device, |_| {
            last = forward().ok().map(|y| {
                let grads = y.backward();
                (x.grad(&grads), weight.grad(&grads))
            });
        }))
    }

    /// Burn's `linear` with the gradients of `x` `[m, k]` and the weight `[k, n]`.
    ///
    /// # Errors
    /// None: Burn panics.
    pub fn dense(&self, [m, n, k]: [usize; 3]) -> Result<Timing> {
        let (x, weight) = (self.random([m, k]), self.random([k, n]));
        let mut last = None;
        Ok(self.plan.time(self.device, |_| {
            let grads = linear(x.clone(), weight.clone(), None).backward();
            last = Some((x.grad(&grads), weight.grad(&grads)));
        }))
    }

    /// The gradients of a sum of all outputs: a row of dX is the sum of Ŵ's rows, a row of dW the
    /// sum of the quantised tokens.
    fn check(
        &self,
        x: &Tensor<2>,
        weight: &Tensor<2>,
        layout: &PackedLayout,
        dx: Tensor<2>,
        dw: Tensor<2>,
    ) -> Result<()> {
        let (codes, scales) = ops::quantize_weight(weight.clone(), layout)?;
        let quantized = ops::unpack_weight(codes, scales, layout, DType::F32)?;
        self.compare("dX", floats(dx)?, &floats(quantized)?, layout.in_features())?;
        self.compare("dW", floats(dw)?, &floats(x.clone())?, layout.in_features())
    }

    /// Compares some rows of `found` with the column sums of `terms`, both with `cols` columns.
    fn compare(&self, what: &str, found: Vec<f32>, terms: &[f32], cols: usize) -> Result<()> {
        for col in spread(cols, CHECKED) {
            let column = terms.iter().skip(col).step_by(cols);
            let (sum, squares) = column.fold((0.0, 0.0), |(sum, squares), &term| {
                let term = term as f64;
                (sum + term, squares + term * term)
            });
            // Rounding to int8 or bf16 is noise of at most a hundredth of a typical term.
            let bound = 0.06 * f64::sqrt(squares) + 0.01 * f64::abs(sum);
            for row in spread(found.len() / cols, CHECKED) {
                let value = found[row * cols + col] as f64;
                ensure!(
                    (value - sum).abs() <= bound,
                    "{what}[{row}, {col}] is {value}, the reference gives {sum}"
                );
            }
        }
        Ok(())
    }
}
