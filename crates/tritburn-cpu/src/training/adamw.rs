//! A step of AdamW, in place, and the norm that gradients are clipped by.

use crate::error::{CpuError, expect_len};
use crate::isa::Isa;
use crate::lm::norm::dot;
use crate::lm::vector::{self, Lanes, Work};
use crate::parallel::{self, OutPtr};

/// What a step of AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101) does to every element:
///
/// `m = β₁·m + (1 - β₁)·g`, `v = β₂·v + (1 - β₂)·g²`,
/// `p = p·keep - rate · (m / c₁) / (√(v / c₂) + ε)`.
#[derive(Clone, Copy, Debug)]
pub struct AdamWStep {
    /// Decay β₁ of the first moment.
    pub beta_1: f32,
    /// Decay β₂ of the second moment.
    pub beta_2: f32,
    /// ε.
    pub epsilon: f32,
    /// `c₁ = 1 - β₁ᵗ` in step t, from 1.
    pub correction_1: f32,
    /// `c₂ = 1 - β₂ᵗ`.
    pub correction_2: f32,
    /// Learning rate.
    pub rate: f32,
    /// `1 - rate · weight decay`.
    pub keep: f32,
}

/// Updates a parameter and its moments, all of one length, with its gradient. The roundings are
/// those of the formula from left to right, without fused steps.
///
/// # Errors
/// [`CpuError::Length`] if a slice does not fit.
pub fn adamw(
    step: AdamWStep,
    parameter: &mut [f32],
    gradient: &[f32],
    moment_1: &mut [f32],
    moment_2: &mut [f32],
) -> Result<(), CpuError> {
    let len = parameter.len();
    expect_len("gradient", gradient.len(), len)?;
    expect_len("moment_1", moment_1.len(), len)?;
    expect_len("moment_2", moment_2.len(), len)?;
    let isa = Isa::detect();
    let out = [parameter, moment_1, moment_2].map(OutPtr::new);
    let parallel = parallel::worth_it(len.saturating_mul(16));
    parallel::for_ranges(parallel, len, 64, usize::MAX, |range| {
        let (at, len) = (range.start, range.len());
        // SAFETY: a detected set is available; the range is this task's own.
        unsafe {
            let [parameter, moment_1, moment_2] = out.map(|out| out.slice(at, len));
            let part = Part {
                step,
                parameter,
                gradient: &gradient[range],
                moment_1,
                moment_2,
            };
            vector::run(isa, part);
        }
    });
    Ok(())
}

/// Elements whose squares are summed by one task.
const BLOCK: usize = 1 << 14;

/// `Σ x²`, summed in blocks of fixed size.
pub fn square_sum(x: &[f32]) -> f32 {
    let isa = Isa::detect();
    let mut sums = vec![0.0; x.len().div_ceil(BLOCK)];
    let out = OutPtr::new(&mut sums);
    let parallel = parallel::worth_it(x.len().saturating_mul(4));
    parallel::for_ranges(parallel, x.len().div_ceil(BLOCK), 1, usize::MAX, |range| {
        for at in range {
            let x = &x[at * BLOCK..((at + 1) * BLOCK).min(x.len())];
            // SAFETY: a detected set is available; the sum is this task's own.
            unsafe {
                let sum = &mut out.slice(at, 1)[0];
                vector::run(isa, Squares { x, sum });
            }
        }
    });
    sums.iter().map(|&sum| f64::from(sum)).sum::<f64>() as f32
}

/// A block of elements and where the sum of their squares goes.
struct Squares<'a> {
    x: &'a [f32],
    sum: &'a mut f32,
}

impl Work for Squares<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        *self.sum = dot(self.x, self.x);
    }
}

/// Elements of a task.
struct Part<'a> {
    step: AdamWStep,
    parameter: &'a mut [f32],
    gradient: &'a [f32],
    moment_1: &'a mut [f32],
    moment_2: &'a mut [f32],
}

impl Work for Part<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let step = self.step;
        let (rest_1, rest_2) = (1.0 - step.beta_1, 1.0 - step.beta_2);
        let moments = self.moment_1.iter_mut().zip(self.moment_2.iter_mut());
        let operands = self.parameter.iter_mut().zip(self.gradient);
        for ((p, g), (m, v)) in operands.zip(moments) {
            *m = *m * step.beta_1 + g * rest_1;
            *v = *v * step.beta_2 + g * g * rest_2;
            let update = *m / step.correction_1 / ((*v / step.correction_2).sqrt() + step.epsilon);
            *p = *p * step.keep - update * step.rate;
        }
    }
}
