//! Burn's own products, timed in batches from the host as a program calls them.

use anyhow::Result;
use burn::tensor::module::linear;
use burn::tensor::quantization::{QuantScheme, QuantStore, QuantValue, ScaleDtype};
use burn::tensor::{DType, Device, Distribution, Tensor};

use crate::timing::{Plan, Timing};

/// Where and how to measure.
pub struct Burn<'a> {
    /// The device.
    pub device: &'a Device,
    /// The plan.
    pub plan: &'a Plan,
    /// Bytes of weights that rotate.
    pub cold_bytes: usize,
    /// Type of the operands.
    pub dtype: DType,
}

impl Burn<'_> {
    /// Name of the dense peer.
    pub fn dense_name(&self) -> &'static str {
        match self.dtype {
            DType::BF16 => "burn_dense_bf16",
            DType::F16 => "burn_dense_f16",
            _ => "burn_dense_f32",
        }
    }

    fn random(&self, shape: [usize; 2]) -> Tensor<2> {
        Tensor::random(
            shape,
            Distribution::Normal(0.0, 1.0),
            (self.device, self.dtype),
        )
    }

    /// `linear(x, W)` with `W` `[K, N]`, what Burn's `Linear` computes.
    ///
    /// # Errors
    /// None: Burn panics.
    pub fn dense(&self, [m, n, k]: [usize; 3]) -> Result<Timing> {
        let copies = self.copies(n * k * self.dtype.size());
        let weights: Vec<_> = (0..copies).map(|_| self.random([k, n])).collect();
        Ok(self.time(self.random([m, k]), &weights))
    }

    /// The same with `W` in Burn's 2-bit quantisation.
    ///
    /// # Errors
    /// None: Burn panics.
    pub fn q2s(&self, [m, n, k]: [usize; 3]) -> Result<Timing> {
        let scheme = QuantScheme::default()
            .with_value(QuantValue::Q2S)
            .with_store(QuantStore::PackedU32(0))
            .per_tensor(ScaleDtype::F32);
        let weights: Vec<_> = (0..self.copies(n * k / 4))
            .map(|_| self.random([k, n]).quantize_dynamic(&scheme))
            .collect();
        Ok(self.time(self.random([m, k]), &weights))
    }

    fn copies(&self, bytes: usize) -> usize {
        // Burn's products are far from the memory's speed: a few copies keep caches cold enough.
        self.cold_bytes.div_ceil(bytes).clamp(1, 64)
    }

    fn time(&self, x: Tensor<2>, weights: &[Tensor<2>]) -> Timing {
        // The last result stays alive: Fusion may drop work that nobody can read.
        let mut last = None;
        self.plan.time(self.device, |i| {
            let weight = weights[i % weights.len()].clone();
            last = Some(linear(x.clone(), weight, None));
        })
    }
}
