//! Attention, a linear layer and the loss, forward and backward.

use std::time::Instant;

use anyhow::Result;
use burn::tensor::{DType, Device, Distribution, Int, IntDType, Tensor};
use tritburn::training::{Heads, LossConfig, linear_cross_entropy, rotary_attention};
use tritburn::{InputPrecision, PackedLayout, ScaleGranularity, WeightCode, ops};

use super::case::{Attention, Linear, Loss};
use super::{Measured, Options, Repeats};

const REPEATS: usize = 50;

/// Activations are bf16 where the device computes with them.
fn activation_dtype(device: &Device, options: &Options) -> DType {
    let bf16 = options.backend.is_gpu() && device.supports_dtype(DType::BF16);
    if bf16 { DType::BF16 } else { DType::F32 }
}

fn random<const D: usize>(shape: [usize; D], device: &Device, dtype: DType) -> Tensor<D> {
    let normal = Distribution::Normal(0.0, 1.0);
    Tensor::random(shape, normal, (device, dtype)).require_grad()
}

/// Attention alone, nothing rotated: PyTorch's has no rotary embedding either.
///
/// # Errors
/// Heads that the device has no kernels for.
pub fn attention(options: &Options, sizes: Attention) -> Result<Measured> {
    let begun = Instant::now();
    let device = options.device.clone().autodiff();
    let dtype = activation_dtype(&device, options);
    let heads = Heads {
        query: sizes.heads,
        key_value: sizes.kv_heads,
        size: sizes.head_width,
    };
    let shape = [sizes.batch_size, sizes.context];
    let qkv = random([shape[0], shape[1], heads.fused_width()], &device, dtype);
    let gradient = random([shape[0], shape[1], heads.query_width()], &device, dtype);
    let mut last = None;
    Repeats::of(options, REPEATS).measure(options.device, begun, || {
        let out = rotary_attention(qkv.clone(), None, heads)?;
        // The gradient of this product is `gradient`.
        let grads = (out * gradient.clone().detach()).sum().backward();
        last = qkv.grad(&grads);
        Ok(())
    })
}

/// A ternary layer with f32 latent weights.
///
/// # Errors
/// Operands that are refused.
pub fn linear(options: &Options, sizes: Linear) -> Result<Measured> {
    let begun = Instant::now();
    let device = options.device.clone().autodiff();
    let dtype = activation_dtype(&device, options);
    let (tokens, n, k) = (sizes.tokens, sizes.outputs, sizes.inputs);
    let layout = PackedLayout::new(n, k, WeightCode::Ternary, ScaleGranularity::Tensor)?;
    let x = random([tokens, k], &device, dtype);
    let weight = random([n, k], &device, DType::F32);
    let mut last = None;
    Repeats::of(options, REPEATS).measure(options.device, begun, || {
        let (input, latent) = (x.clone(), weight.clone());
        let y = ops::bit_linear(input, latent, None, &layout, InputPrecision::Int8)?;
        let grads = y.backward();
        last = Some((x.grad(&grads), weight.grad(&grads)));
        Ok(())
    })
}

/// Output layer and cross entropy, with the gradients of hidden states and table.
///
/// # Errors
/// Operands that are refused.
pub fn loss(options: &Options, sizes: Loss) -> Result<Measured> {
    let begun = Instant::now();
    let device = options.device.clone().autodiff();
    let dtype = activation_dtype(&device, options);
    let x = random([sizes.tokens, sizes.d_model], &device, dtype);
    let table = random([sizes.vocabulary, sizes.d_model], &device, DType::F32);
    let range = Distribution::Uniform(0.0, sizes.vocabulary as f64);
    let targets = Tensor::<1, Int>::random([sizes.tokens], range, &device).cast(IntDType::U32);
    let config = LossConfig::default();
    let mut last = None;
    Repeats::of(options, 20).measure(options.device, begun, || {
        let loss = linear_cross_entropy(x.clone(), table.clone(), targets.clone(), &config)?;
        let grads = loss.backward();
        last = Some((x.grad(&grads), table.grad(&grads)));
        Ok(())
    })
}
