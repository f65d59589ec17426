//! The training operations against compositions of Burn's own operations and finite differences.

mod attention;
mod dense;
mod embedding;
mod layers;
mod linear;
mod loss;
mod model;
mod optim;
mod rows;

use burn::tensor::{DType, Device, Tensor, TensorData};
use tritburn::ops::internals;

use crate::common::{relative_error, to_vec, values};

/// Reproducible values of any shape.
pub fn tensor<const D: usize>(seed: u64, shape: [usize; D], device: &Device) -> Tensor<D> {
    let len = shape.iter().product();
    Tensor::from_data(TensorData::new(values(seed, len), shape), device)
}

/// A tensor of `dtype` that asks for its gradient if it is `trained`.
pub fn leaf<const D: usize>(
    seed: u64,
    shape: [usize; D],
    (dtype, trained): (DType, bool),
    device: &Device,
) -> Tensor<D> {
    let tensor = tensor(seed, shape, device).cast(dtype);
    if trained {
        tensor.require_grad()
    } else {
        tensor
    }
}

pub const TRAINED: (DType, bool) = (DType::F32, true);

/// Half-precision types that `device` computes with.
pub fn half_types(device: &Device) -> Vec<DType> {
    [DType::BF16, DType::F16]
        .into_iter()
        .filter(|&dtype| {
            device.supports_dtype(dtype)
                && (dtype != DType::BF16 || internals::rounds_to_bf16(device))
        })
        .collect()
}

/// Named results of a run.
pub type Results = Vec<(&'static str, Vec<f32>)>;

pub fn assert_close(found: &Results, expected: &Results, bound: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for ((name, found), (_, expected)) in found.iter().zip(expected) {
        let error = relative_error(found, expected);
        assert!(error < bound, "{name} of {what}: {error}");
    }
}

/// Compares some elements of a gradient with central differences of `loss`, with a step that is
/// large against the rounding of f32 sums.
pub fn assert_is_slope(
    gradient: Vec<f32>,
    at: Vec<f32>,
    loss: impl Fn(Vec<f32>) -> f32,
    what: &str,
) {
    let step = 0.02;
    let size = gradient.iter().fold(0.1f32, |m, g| m.max(g.abs()));
    let stride = (gradient.len() / 7).max(1);
    for i in (0..gradient.len()).step_by(stride) {
        let moved = |by: f32| {
            let mut values = at.clone();
            values[i] += by;
            loss(values)
        };
        let slope = (moved(step) - moved(-step)) / (2.0 * step);
        let error = (slope - gradient[i]).abs() / size;
        assert!(
            error < 0.02,
            "{what}[{i}]: {} instead of {slope}",
            gradient[i]
        );
    }
}

/// The elements of `y`, each times another weight. Their sum is the loss that `backward` differentiates: it
/// gives every element the gradient 1. No device adds them up, because that would be tuned for each shape.
pub fn weighed<const D: usize>(y: Tensor<D>, seed: u64) -> Tensor<D> {
    let weights = tensor(seed, y.dims(), &y.device());
    y.cast(DType::F32) * weights
}

/// The sum of all elements.
pub fn scalar<const D: usize>(tensor: Tensor<D>) -> f32 {
    to_vec(tensor).iter().sum()
}
