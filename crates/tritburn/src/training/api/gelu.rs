//! An activation without a gate.

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use super::super::backend::TrainingOps;

/// GELU, `x · Φ(x)` with the normal distribution's Φ (Hendrycks & Gimpel 2016, arXiv 1606.08415).
///
/// Flex computes 16 elements at a time, on all threads, within `3e-7 · max(1, |x|)` of the formula; f64, and
/// CubeCL devices, have
/// Burn's operation, which Burn fuses with its neighbours; its gradient is that of GELU's approximation by
/// tanh, up to 1e-3 away.
///
/// # Shapes
/// `x` of any shape and float dtype; returns both. Differentiable in `x`.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use tritburn::training::gelu;
///
/// let x = Tensor::<1>::from_floats([-1., 0., 1.], &Device::flex());
/// let y: Vec<f32> = gelu(x).into_data().try_to_vec().unwrap();
/// assert!((y[2] - 0.841_345).abs() < 1e-6 && y[1] == 0.0);
/// ```
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as TrainingOps>::exact_gelu(x.into_dispatch()))
}
