//! Stochastic depth.

use burn::tensor::{Tensor, TensorData};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// Leaves branches of blocks out, each for some images of a batch (Huang et al. 2016, arXiv 1603.09382).
/// What is left out follows from the seed: give every step another one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DropPath {
    /// Share that is left out, from 0 up to but without 1.
    pub rate: f64,
    /// What decides which.
    pub seed: u64,
}

impl DropPath {
    /// What branch `index` of the model adds to `x`: `branch` of each image, or nothing. What stays is
    /// stretched, so that the mean of both is `branch`.
    pub(super) fn apply(&self, branch: Tensor<3>, index: usize) -> Tensor<3> {
        if self.rate <= 0.0 {
            return branch;
        }
        let [batch, ..] = branch.dims();
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(index as u64);
        let keep = 1.0 - self.rate;
        let factors: Vec<f32> = (0..batch)
            .map(|_| match rng.random::<f64>() < keep {
                true => (1.0 / keep) as f32,
                false => 0.0,
            })
            .collect();
        let data = TensorData::new(factors, [batch, 1, 1]);
        let factors = Tensor::<3>::from_data(data, &branch.device()).cast(branch.dtype());
        branch * factors
    }
}
