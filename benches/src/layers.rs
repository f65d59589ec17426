//! Whole layers: a packed `BitLinear` (W2A8, activation quantisation included) against Burn's `Linear`.

use anyhow::Result;
use burn::nn::LinearConfig;
use burn::tensor::{Device, Distribution, Tensor};
use tritburn::{BitLinearConfig, Pack};

use crate::check;
use crate::peers;
use crate::row::{Case, PeerTimes, Row};
use crate::suite::Suite;
use crate::timing::Plan;

/// `(out, in)`: down projection of BitNet b1.58 2B-4T, and a square of a 7B model.
const SHAPES: [(usize, usize); 2] = [(2560, 6912), (4096, 4096)];
const TOKENS: [usize; 4] = [1, 8, 32, 128];

/// Runs every shape with every number of tokens, weights cold and hot; Burn's layer beside ours
/// where `dense` asks for it.
///
/// # Errors
/// A layer that differs from the reference.
pub fn run(
    device: &Device,
    cold_bytes: usize,
    plan: &Plan,
    checked: bool,
    dense: bool,
    mut done: impl FnMut(Row),
) -> Result<()> {
    for (n, k) in SHAPES {
        device.seed(1);
        let packed = Copies::of(cold_bytes, n * k / 4, || {
            Ok(BitLinearConfig::new(k, n).init(device).pack()?)
        })?;
        let linears = Copies::of(if dense { cold_bytes } else { 0 }, 4 * n * k, || {
            Ok(LinearConfig::new(k, n).with_bias(false).init(device))
        })?;
        for m in TOKENS {
            let x = Tensor::<2>::random([m, k], Distribution::Normal(0.0, 1.0), device);
            if checked {
                check::packed(&packed.0[0], x.clone())?;
            }
            for cold in [true, false] {
                let ours = plan.time(device, |i| drop(packed.at(i, cold).forward(x.clone())));
                let mut times = PeerTimes::new();
                if dense {
                    peers::add(&mut times, "burn_dense_f32", || {
                        Ok(plan.time(device, |i| drop(linears.at(i, cold).forward(x.clone()))))
                    });
                }
                let case = Case {
                    suite: Suite::Layers,
                    op: if cold {
                        "packed_linear"
                    } else {
                        "packed_linear_hot"
                    },
                    format: "ternary",
                    activations: "int8+quant".into(),
                    shape: [m, n, k],
                    products: 1,
                    reads_weights: true,
                };
                done(case.row("BitLinear".into(), ours, times));
            }
        }
    }
    Ok(())
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
