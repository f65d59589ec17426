//! Times the attention with gradients on an NVIDIA GPU: `attention_tuning [--plans]`.
//!
//! A line is a shape: microseconds and TFLOP/s of the forward pass, of the backward pass, and of both. Counted
//! are the operations below the diagonal, two products of scores forward and five backward, however many a
//! kernel makes. `--plans` also times other plans of each kernel beside those chosen for the other two.

#[cfg(feature = "cuda")]
#[path = "../tests/portable/harness.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod harness;

#[cfg(feature = "cuda")]
mod tuning {
    use std::time::Instant;

    use cubecl::Device;
    use cubecl::client::Client;
    use tritburn_kernels::decoder::attention::training::cuda::{self, FlashPlan, FlashPlans};
    use tritburn_kernels::decoder::attention::training::{self, AttentionShape};
    use tritburn_kernels::{Buffer, FloatMatrix, FloatType, KernelError};

    use crate::harness::*;

    const TYPE: FloatType = FloatType::BF16;

    /// (batch, heads, key heads, length, dimension)
    const SHAPES: [(usize, usize, usize, usize, usize); 5] = [
        (16, 12, 12, 1024, 64),
        (8, 32, 32, 2048, 64),
        (4, 16, 16, 4096, 128),
        (4, 16, 4, 4096, 128),
        (8, 16, 4, 2048, 64),
    ];

    struct Operands {
        client: Client,
        shape: AttentionShape,
        scale: f32,
        qkv: FloatMatrix,
        out: FloatMatrix,
        statistics: Buffer,
        d_out: FloatMatrix,
        d_qkv: FloatMatrix,
    }

    impl Operands {
        fn new(client: &Client, shape: AttentionShape) -> Self {
            let matrix = |seed, cols| {
                // Rows repeat after some: the numbers do not matter, their magnitudes do.
                let some = 1 << 20;
                let block = floats(&mut rng(seed), some, TYPE);
                let len = shape.tokens() * cols;
                let data: Vec<f32> = block.iter().copied().cycle().take(len).collect();
                float_matrix(client, &data, [shape.tokens(), cols], cols, TYPE)
            };
            Self {
                client: client.clone(),
                shape,
                scale: 1.0 / (shape.dim as f32).sqrt(),
                qkv: matrix(1, shape.qkv_cols()),
                out: matrix(2, shape.out_cols()),
                statistics: empty(client, shape.rows()).0,
                d_out: matrix(3, shape.out_cols()),
                d_qkv: matrix(4, shape.qkv_cols()),
            }
        }

        fn forward(&self, plans: Option<&FlashPlans>) -> Result<(), KernelError> {
            let Self {
                client,
                shape,
                qkv,
                out,
                ..
            } = self;
            let statistics = &self.statistics;
            match plans {
                Some(plans) => {
                    cuda::forward(client, qkv, shape, self.scale, out, statistics, plans)
                }
                None => training::forward(client, qkv, shape, self.scale, out, statistics),
            }
        }

        fn backward(&self, plans: Option<&FlashPlans>) -> Result<(), KernelError> {
            let Self {
                client,
                shape,
                qkv,
                out,
                d_out,
                d_qkv,
                ..
            } = self;
            let (statistics, scale) = (&self.statistics, self.scale);
            match plans {
                Some(plans) => cuda::backward(
                    client, qkv, out, statistics, d_out, shape, scale, d_qkv, plans,
                ),
                None => {
                    training::backward(client, qkv, out, statistics, d_out, shape, scale, d_qkv)
                }
            }
        }

        /// Median microseconds of a call among many; `None` if it is refused.
        fn time(&self, call: impl Fn() -> Result<(), KernelError>) -> Option<f64> {
            const CALLS: usize = 20;
            let sync =
                || cubecl::future::block_on(self.client.sync()).expect("the device finishes");
            call().ok()?;
            sync();
            let mut times: Vec<f64> = (0..9)
                .map(|_| {
                    let start = Instant::now();
                    for _ in 0..CALLS {
                        call().expect("a launch");
                    }
                    sync();
                    start.elapsed().as_secs_f64() * 1e6 / CALLS as f64
                })
                .collect();
            times.sort_by(f64::total_cmp);
            Some(times[times.len() / 2])
        }
    }

    /// Operations of one product of scores, in TFLOP.
    fn product(shape: &AttentionShape) -> f64 {
        let scores = shape.rows() as f64 * (shape.length as f64 + 1.0) / 2.0;
        2.0 * scores * shape.dim as f64 * 1e-12
    }

    fn line(name: &str, time: Option<f64>, operations: f64) -> String {
        match time {
            Some(time) => format!(
                "{name} {time:>8.1} us {:>6.1} TFLOP/s",
                operations / time * 1e6
            ),
            None => format!("{name}  refused"),
        }
    }

    /// Warps, blocks, rows of a tile, rows of a span, and whether keys and values stay in registers: what
    /// fits registers, by dimension.
    type Cut = (usize, usize, usize, usize, bool);

    const FORWARD: [&[Cut]; 2] = [
        &[
            (4, 1, 64, 64, true),
            (4, 2, 64, 32, true),
            (4, 1, 128, 128, true),
            (8, 1, 64, 64, true),
            (8, 2, 64, 64, true),
        ],
        &[
            (8, 1, 64, 64, true),
            (4, 1, 32, 32, true),
            (8, 1, 32, 32, true),
        ],
    ];
    const QUERY: [&[Cut]; 2] = [
        &[
            (4, 1, 64, 64, true),
            (4, 1, 64, 32, true),
            (8, 1, 64, 32, true),
            (4, 2, 64, 16, true),
            (8, 2, 64, 16, true),
        ],
        &[
            (8, 1, 64, 32, true),
            (4, 1, 64, 16, true),
            (4, 1, 32, 32, true),
        ],
    ];
    const KEY: [&[Cut]; 2] = [
        &[
            (4, 1, 64, 64, true),
            (4, 1, 64, 32, true),
            (4, 1, 64, 32, false),
            (4, 1, 64, 64, false),
            (8, 1, 64, 32, true),
            (4, 2, 64, 16, false),
            (8, 2, 64, 16, false),
        ],
        &[
            (8, 1, 64, 32, false),
            (4, 1, 64, 16, false),
            (8, 1, 32, 16, false),
        ],
    ];

    /// `chosen` cut in other ways.
    fn others(chosen: FlashPlan, cuts: [&[Cut]; 2]) -> Vec<FlashPlan> {
        let cuts = cuts[(chosen.dim > 64) as usize].iter();
        let plan = |&(warps, blocks, tile, span, held): &Cut| FlashPlan {
            warps,
            blocks,
            tile,
            span,
            held,
            ..chosen
        };
        cuts.map(plan).collect()
    }

    fn name(plan: &FlashPlan) -> String {
        let FlashPlan {
            warps,
            blocks,
            tile,
            span,
            held,
            ..
        } = plan;
        format!("{warps} warps x {blocks} blocks, tile {tile:>3}, span {span:>3}, held {held:<5}")
    }

    fn plans(operands: &Operands) {
        let chosen = FlashPlans::new(operands.shape.dim, TYPE).expect("plans");
        let products = product(&operands.shape);
        for forward in others(chosen.forward, FORWARD) {
            let plans = FlashPlans { forward, ..chosen };
            let time = operands.time(|| operands.forward(Some(&plans)));
            let what = format!("  forward          {}", name(&forward));
            println!("{}", line(&what, time, 2.0 * products));
        }
        for query in others(chosen.query, QUERY) {
            let plans = FlashPlans { query, ..chosen };
            let time = operands.time(|| operands.backward(Some(&plans)));
            let what = format!("  backward, query: {}", name(&query));
            println!("{}", line(&what, time, 5.0 * products));
        }
        for key in others(chosen.key, KEY) {
            let plans = FlashPlans { key, ..chosen };
            let time = operands.time(|| operands.backward(Some(&plans)));
            let what = format!("  backward, key:   {}", name(&key));
            println!("{}", line(&what, time, 5.0 * products));
        }
    }

    pub fn run() {
        let all = std::env::args().any(|argument| argument == "--plans");
        let client = Device::Cuda(Default::default()).client();
        for (batch, heads, kv_heads, length, dim) in SHAPES {
            let shape = AttentionShape {
                batch,
                length,
                heads,
                kv_heads,
                dim,
            };
            let operands = Operands::new(&client, shape);
            let forward = operands.time(|| operands.forward(None));
            let backward = operands.time(|| operands.backward(None));
            let both = forward.zip(backward).map(|(f, b)| f + b);
            let products = product(&shape);
            println!(
                "{batch}x{heads}({kv_heads})x{length}x{dim}: {}, {}, {}",
                line("forward", forward, 2.0 * products),
                line("backward", backward, 5.0 * products),
                line("both", both, 7.0 * products),
            );
            if all {
                plans(&operands);
            }
        }
    }
}

fn main() {
    #[cfg(feature = "cuda")]
    tuning::run();
    #[cfg(not(feature = "cuda"))]
    println!("build with --features cuda");
}
