//! A float product.

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use super::super::backend::TrainingOps;
use super::check::Rows;
use crate::error::Error;
use crate::ops::{check_device, check_float};

/// The float twin of a quantised product: `x · weightᵀ`, computed in the dtype of `x` with f32 sums.
///
/// A weight of another dtype, as a rule f32 under half-precision activations, is rounded to that of
/// `x` on the way; its gradient is summed in f32 and never rounded to half precision. On Hopper GPUs
/// the three products are tensor-core kernels that need no tuning; elsewhere they are Burn's.
///
/// # Shapes
/// `x` `[.., in]` of f32, bf16 or f16, `weight` `[out, in]` of any float dtype; returns `[.., out]` in
/// the dtype of `x`. Differentiable in both; each gradient has the dtype of its tensor.
///
/// # Errors
/// [`Error::InputFeatures`], [`Error::Shape`], [`Error::DType`] or [`Error::Device`].
///
/// ```
/// # use burn::tensor::{Device, Tensor};
/// # use tritburn::training::linear;
/// # let device = Device::default();
/// let x = Tensor::<3>::ones([2, 5, 64], &device);
/// let weight = Tensor::<2>::ones([32, 64], &device);
/// assert_eq!(linear(x, weight)?.dims(), [2, 5, 32]);
/// # Ok::<(), tritburn::Error>(())
/// ```
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>) -> Result<Tensor<D>, Error> {
    let [outputs, features] = weight.dims();
    let rows = Rows::new("input", &x, features)?;
    check_float("weight", weight.dtype(), &weight.device())?;
    check_device("weight", &weight.device(), &x.device())?;
    if features == 0 {
        return Err(Error::Shape {
            operand: "weight",
            found: vec![outputs, features],
            expected: vec![outputs, 1],
        });
    }
    Ok(rows.map(x, outputs, |x| {
        Tensor::from_dispatch(<Dispatch as TrainingOps>::dense_linear(
            x.into_dispatch(),
            weight.into_dispatch(),
        ))
    }))
}
