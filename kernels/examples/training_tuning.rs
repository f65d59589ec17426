//! Times the kernels around the products of a training step on an NVIDIA GPU:
//! `training_tuning [NAME ...]`, names as printed first on a line (`norm`, `glu`, `rotary`,
//! `embedding`, `loss`, `adamw`, `clip`, `codes`).
//!
//! Each line says how long a call takes, the median of replays of a CUDA graph of many, and what share
//! of memory bandwidth that is: bytes that a call has to move, once each. Operands rotate through more
//! than the L2 cache holds. Results are checked by the tests.

#[cfg(feature = "cuda")]
#[path = "common/replay.rs"]
mod replay;

#[cfg(feature = "cuda")]
mod tuning {
    use cubecl::Device;
    use cubecl::client::Client;
    use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};
    use tritburn_kernels::cross_entropy::{self, CrossEntropy};
    use tritburn_kernels::decoder::embedding;
    use tritburn_kernels::decoder::glu::{self, GatedActivation, NormGradient};
    use tritburn_kernels::decoder::norm::{self, Residual, RowOutput};
    use tritburn_kernels::decoder::rotary::{self, Rotation};
    use tritburn_kernels::optimizer::{self, AdamW, AdamWOperands};
    use tritburn_kernels::{Buffer, FloatMatrix, FloatType, FloatVector, statistics};

    use crate::replay;

    const TOKENS: usize = 16_384;
    const EPS: f32 = 1e-5;
    const BF16: FloatType = FloatType::BF16;
    const F32: FloatType = FloatType::F32;
    const COLD_BYTES: usize = 400 << 20;

    struct Bench {
        client: Client,
        names: Vec<String>,
    }

    impl Bench {
        fn wanted(&self, name: &str) -> bool {
            self.names.is_empty() || self.names.iter().any(|n| n == name)
        }

        /// Small floats in every place: bf16 0.0115, f32 0.0115.
        fn matrix(&self, [rows, cols]: [usize; 2], dtype: FloatType) -> FloatMatrix {
            let handle = self
                .client
                .create_from_slice(&vec![0x3C; rows * cols * dtype.size()]);
            FloatMatrix::new(handle, [rows, cols], [cols, 1], dtype).expect("a matrix")
        }

        fn vector(&self, len: usize) -> FloatVector {
            let handle = self.client.create_from_slice(&vec![0x3C; len * 4]);
            FloatVector::new(handle, len, F32).expect("a vector")
        }

        fn words(&self, len: usize, word: impl Fn(usize) -> u32) -> Buffer {
            let bytes: Vec<u8> = (0..len).flat_map(|i| word(i).to_le_bytes()).collect();
            Buffer::new(self.client.create_from_slice(&bytes), len)
        }

        /// Times `call` on sets of operands that `make` allocates, each of `bytes`.
        fn case<T>(&self, what: &str, bytes: usize, make: impl Fn() -> T, call: impl Fn(&T)) {
            let sets: Vec<T> = (0..COLD_BYTES.div_ceil(bytes).clamp(1, 64))
                .map(|_| make())
                .collect();
            let calls = (2 * sets.len()).max(8);
            let run = || (0..calls).for_each(|i| call(&sets[i % sets.len()]));
            call(&sets[0]);
            // SAFETY: every buffer of the recorded calls is in `sets`.
            let time = unsafe { replay::time(&self.client, [15, 1], run) } / calls as f64;
            let rate = bytes as f64 / time * 1e-3;
            println!("{what:<48} {time:>9.2} us  {rate:>6.0} GB/s");
        }

        fn norm(&self, k: usize) {
            let element = TOKENS * k * 2;
            let gamma = self.vector(k);
            let dgamma = self.vector(k);
            let make = || [(); 4].map(|()| self.matrix([TOKENS, k], BF16));
            self.case(
                &format!("norm forward {TOKENS}x{k}"),
                2 * element,
                make,
                |[x, y, ..]| {
                    let out = RowOutput::Float(y);
                    norm::launch(&self.client, x, Residual::None, &gamma, EPS, out)
                        .expect("a launch");
                },
            );
            for joins in [false, true] {
                let what = if joins { " + joining gradient" } else { "" };
                self.case(
                    &format!("norm backward {TOKENS}x{k}{what}"),
                    (3 + usize::from(joins)) * element,
                    make,
                    |[x, dy, add, dx]| {
                        let add = joins.then_some(add);
                        norm::backward(&self.client, x, &gamma, EPS, dy, add, dx, &dgamma)
                            .expect("a launch");
                    },
                );
            }
        }

        fn glu(&self, k: usize) {
            let element = TOKENS * k * 2;
            let gamma = self.vector(k);
            let dgamma = self.vector(k);
            let make = || {
                let wide = [(); 2].map(|()| self.matrix([TOKENS, 2 * k], BF16));
                (wide, self.matrix([TOKENS, k], BF16))
            };
            for activation in [GatedActivation::SquaredRelu, GatedActivation::Silu] {
                for normed in [false, true] {
                    let what = if normed { " + norm" } else { "" };
                    let gradient = NormGradient {
                        gamma: &gamma,
                        eps: EPS,
                        dgamma: &dgamma,
                    };
                    self.case(
                        &format!("glu forward {TOKENS}x{k} {activation:?}{what}"),
                        3 * element,
                        make,
                        |([x, _], y)| {
                            let norm = normed.then_some((&gamma, EPS));
                            let out = RowOutput::Float(y);
                            glu::launch(&self.client, x, activation, norm, out).expect("a launch");
                        },
                    );
                    self.case(
                        &format!("glu backward {TOKENS}x{k} {activation:?}{what}"),
                        5 * element,
                        make,
                        |([x, dx], dy)| {
                            let norm = normed.then_some(gradient);
                            glu::backward(&self.client, x, activation, norm, dy, dx)
                                .expect("a launch");
                        },
                    );
                }
            }
        }

        fn rotary(&self, heads: usize, kv_heads: usize, dim: usize) {
            let cols = (heads + 2 * kv_heads) * dim;
            let table = rotary::table(1024, dim, 10_000.0);
            let table = self.words(table.len(), |i| table[i].to_bits());
            let rotation = Rotation {
                length: 1024,
                heads,
                kv_heads,
                dim,
                inverse: false,
            };
            let make = || [(); 2].map(|()| self.matrix([TOKENS, cols], BF16));
            self.case(
                &format!("rotary {TOKENS}x{cols} heads of {dim}"),
                4 * TOKENS * cols,
                make,
                |[x, y]| {
                    rotary::rotate(&self.client, x, &table, rotation, y).expect("a launch");
                },
            );
            self.case(
                &format!("rotary {TOKENS}x{cols} heads of {dim} in place"),
                4 * TOKENS * (heads + kv_heads) * dim,
                make,
                |[x, _]| {
                    rotary::rotate(&self.client, x, &table, rotation, x).expect("a launch");
                },
            );
        }

        fn embedding(&self, vocabulary: usize, k: usize) {
            // Squares of a uniform number: the first of 256 ids occurs a thousand times.
            let ids = self.words(TOKENS, |i| {
                let uniform = (i as u32).wrapping_mul(2_654_435_761) as f64 / 2f64.powi(32);
                (uniform * uniform * vocabulary as f64) as u32
            });
            self.case(
                &format!("embedding backward {TOKENS}x{k} of {vocabulary}"),
                2 * TOKENS * k + 4 * vocabulary * k,
                || {
                    let table = self.matrix([vocabulary, k], F32);
                    (self.matrix([TOKENS, k], BF16), table)
                },
                |(dy, table)| {
                    embedding::backward(&self.client, dy, &ids, table).expect("a launch");
                },
            );
        }

        fn loss(&self, tokens: usize, vocabulary: usize, in_place: bool) {
            let [losses, weights] = [(); 2].map(|()| self.vector(tokens));
            let targets = self.words(tokens, |i| (i * 7919 % vocabulary) as u32);
            let what = if in_place { " in place" } else { "" };
            let terms = CrossEntropy {
                z_loss: 1e-4,
                ..Default::default()
            };
            self.case(
                &format!("loss {tokens}x{vocabulary}{what}"),
                4 * tokens * vocabulary,
                || [(); 2].map(|()| self.matrix([tokens, vocabulary], BF16)),
                |[logits, gradient]| {
                    let gradient = if in_place { logits } else { gradient };
                    cross_entropy::launch(
                        &self.client,
                        logits,
                        &targets,
                        terms,
                        &losses,
                        &weights,
                        Some(gradient),
                    )
                    .expect("a launch");
                },
            );
        }

        fn adamw(&self, rows: usize, cols: usize, grad: FloatType) {
            let constants = AdamW {
                lr: 1e-3,
                beta1: 0.9,
                beta2: 0.95,
                epsilon: 1e-8,
                weight_decay: 0.1,
                step: 3,
            };
            let factor = self.words(1, |_| 1.0f32.to_bits());
            let make = || {
                let state = [(); 3].map(|()| self.matrix([rows, cols], F32));
                (state, self.matrix([rows, cols], grad))
            };
            self.case(
                &format!("adamw {rows}x{cols}, gradient {grad}"),
                rows * cols * (24 + grad.size()),
                make,
                |([param, m, v], grad)| {
                    let operands = AdamWOperands { param, grad, m, v };
                    optimizer::adamw(&self.client, constants, Some(&factor), operands)
                        .expect("a launch");
                },
            );
        }

        fn clip(&self, rows: usize, cols: usize) {
            let [sums, norm, factor] = [8, 1, 1].map(|len| self.words(len, |_| 0));
            self.case(
                &format!("clip: sum of squares {rows}x{cols}"),
                rows * cols * 4,
                || self.matrix([rows, cols], F32),
                |x| optimizer::square_sum(&self.client, x, &sums, 0).expect("a launch"),
            );
            self.case(
                "clip: factor of 8 sums",
                40,
                || (),
                |()| {
                    optimizer::clip_factor(&self.client, &sums, 1.0, &norm, &factor)
                        .expect("a launch");
                },
            );
        }

        fn codes(&self, n: usize, k: usize) {
            let layout = PackedLayout::new(n, k, WeightCode::Ternary, ScaleGranularity::Tensor)
                .expect("a layout");
            let words = layout.word_count();
            let out = self.words(3, |_| 0);
            self.case(
                &format!("codes {n}x{k}"),
                8 * words,
                || [(); 2].map(|()| self.words(words, |_| 0x5555_5555)),
                |[before, after]| {
                    let before = Some(before);
                    statistics::compare_codes(&self.client, &layout, before, after, &out)
                        .expect("a launch");
                },
            );
        }
    }

    pub fn run() {
        let bench = Bench {
            client: Device::Cuda(Default::default()).client(),
            names: std::env::args().skip(1).collect(),
        };
        if bench.wanted("norm") {
            bench.norm(768);
            bench.norm(2048);
        }
        if bench.wanted("glu") {
            bench.glu(2048);
            bench.glu(5632);
        }
        if bench.wanted("rotary") {
            bench.rotary(12, 12, 64);
            bench.rotary(20, 5, 128);
        }
        if bench.wanted("embedding") {
            bench.embedding(256, 768);
            bench.embedding(128_256, 768);
            bench.embedding(256, 2048);
        }
        if bench.wanted("loss") {
            bench.loss(TOKENS, 256, false);
            bench.loss(TOKENS, 256, true);
            bench.loss(TOKENS, 4096, true);
            bench.loss(4096, 32_768, true);
            bench.loss(1024, 128_256, true);
            bench.loss(1024, 128_256, false);
        }
        if bench.wanted("adamw") {
            bench.adamw(2048, 768, F32);
            bench.adamw(2048, 768, BF16);
            bench.adamw(5632, 2048, F32);
            bench.adamw(1, 768, F32);
        }
        if bench.wanted("clip") {
            bench.clip(2048, 768);
            bench.clip(5632, 2048);
        }
        if bench.wanted("codes") {
            bench.codes(2048, 768);
            bench.codes(11_264, 2048);
        }
    }
}

fn main() {
    #[cfg(feature = "cuda")]
    tuning::run();
    #[cfg(not(feature = "cuda"))]
    println!("build with --features cuda");
}
