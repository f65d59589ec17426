//! Whole layers: `PackedLinear` (W2A8, activation quantisation included) against Burn's `Linear`.

use anyhow::Result;
use burn::nn::LinearConfig;
use burn::tensor::{Device, Distribution, Tensor};
use tritburn::BitLinearConfig;

use crate::check;
use crate::report::Row;
use crate::timing::Plan;

/// `(out, in)`: down projection of BitNet b1.58 2B-4T, and a square of a 7B model.
const SHAPES: [(usize, usize); 2] = [(2560, 6912), (4096, 4096)];
const TOKENS: [usize; 4] = [1, 8, 32, 128];

/// Runs every shape with every number of tokens, cold and hot for one token.
pub fn run(device: &Device, cold_bytes: usize, plan: &Plan) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (n, k) in SHAPES {
        device.seed(1);
        let packed = Copies::of(cold_bytes, n * k / 4, || {
            Ok(BitLinearConfig::new(k, n).init(device).pack()?)
        })?;
        let dense = Copies::of(cold_bytes, 4 * n * k, || {
            Ok(LinearConfig::new(k, n).with_bias(false).init(device))
        })?;
        for m in TOKENS {
            let x = Tensor::<2>::random([m, k], Distribution::Normal(0.0, 1.0), device);
            check::packed(&packed.0[0], x.clone())?;
            for cold in [true, false] {
                let ours = plan.time(device, |i| drop(packed.at(i, cold).forward(x.clone())));
                let burns = plan.time(device, |i| drop(dense.at(i, cold).forward(x.clone())));
                rows.push(Row::new([m, n, k], cold, ours, burns));
            }
        }
    }
    Ok(rows)
}

/// Copies of a layer that together do not fit any cache.
struct Copies<L>(Vec<L>);

impl<L> Copies<L> {
    fn of(total: usize, each: usize, mut make: impl FnMut() -> Result<L>) -> Result<Self> {
        (0..total.div_ceil(each).max(1))
            .map(|_| make())
            .collect::<Result<_>>()
            .map(Self)
    }

    fn at(&self, call: usize, cold: bool) -> &L {
        &self.0[if cold { call % self.0.len() } else { 0 }]
    }
}
