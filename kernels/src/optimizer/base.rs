//! Constants and operands of a step.

use crate::error::KernelError;
use crate::operand::{FloatMatrix, FloatType};
use cubecl::prelude::*;

/// Constants of one step of AdamW (Loshchilov and Hutter, <https://arxiv.org/abs/1711.05101>).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Decoupled decay of weights, times the learning rate.
    pub weight_decay: f32,
    /// This step, from 1 on: corrects the bias of the moments.
    pub step: u32,
}

/// The operands of one parameter: matrices of one shape. A vector is a matrix of one row.
#[derive(Clone, Copy, Debug)]
pub struct AdamWOperands<'a> {
    /// f32, read and written.
    pub param: &'a FloatMatrix,
    /// Any float type.
    pub grad: &'a FloatMatrix,
    /// First moment, f32, read and written; zeros before the first step.
    pub m: &'a FloatMatrix,
    /// Second moment, f32, read and written; zeros before the first step.
    pub v: &'a FloatMatrix,
}

impl AdamWOperands<'_> {
    pub(super) fn check(&self, client: &Client) -> Result<(), KernelError> {
        let shape = [self.param.rows(), self.param.cols()];
        let floats = [
            ("parameter", self.param),
            ("first moment", self.m),
            ("second moment", self.v),
        ];
        for (operand, matrix) in floats {
            matrix.check(client, operand, shape)?;
            FloatType::F32.expect(operand, matrix.dtype())?;
        }
        self.grad.check(client, "gradient", shape)
    }
}

/// Matrices of one shape for an elementwise kernel: as one row if all are contiguous.
pub(super) fn flattened<const N: usize>(matrices: [&FloatMatrix; N]) -> [FloatMatrix; N] {
    let all = matrices.iter().all(|matrix| matrix.is_contiguous());
    matrices.map(|matrix| match all {
        true => matrix.flatten(),
        false => matrix.clone(),
    })
}

/// Elements per unit: four if all rows are made of whole lines, else one.
pub(super) fn width_of(matrices: &[FloatMatrix]) -> usize {
    let whole = |matrix: &FloatMatrix| matrix.starts_lines() && matrix.cols().is_multiple_of(4);
    if matrices.iter().all(whole) { 4 } else { 1 }
}
