//! Times tensor-core plans on an NVIDIA GPU: `cuda_tuning [KIND:MxNxK ...]`, with `most=COUNT` for the
//! best of the model only (`fused`). For tuning; the benchmark that users run is `cargo xtask bench`.
//!
//! Weights rotate over more than 256 MB, so that the L2 cache is cold; calls are recorded into a
//! CUDA graph and replayed.

#[cfg(feature = "cuda")]
#[path = "common/replay.rs"]
mod replay;

#[cfg(feature = "cuda")]
mod tuning {
    use std::time::Instant;

    use cubecl::Device;
    use cubecl::client::Client;
    use cubecl::server::Handle;
    use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};
    use tritburn_kernels::product::cuda::MmaInput;
    use tritburn_kernels::product::cuda::skinny::SkinnyBlueprint;
    use tritburn_kernels::product::cuda::wgmma::WgmmaBlueprint;
    use tritburn_kernels::product::cuda::wgmma_fused::FusedBlueprint;
    use tritburn_kernels::product::{self, ActivationType, MatmulProblem, Plan, Strategy};
    use tritburn_kernels::{
        Buffer, DeviceFacts, FloatMatrix, FloatType, FragmentOrder, MmaType, PackedWeights,
        PrepackedWeights, QuantizedActivations, WeightOrder, backward, quantize,
    };

    use crate::replay::{self, sync};

    const COLD_BYTES: usize = 300 << 20;

    fn random(client: &Client, words: usize) -> Buffer {
        let mut state = 0x9E37_79B9_7F4A_7C15u64;
        let data: Vec<u32> = (0..words)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let bits = (state >> 32) as u32;
                // No code 2: both bits set where the high one is.
                bits | ((bits >> 1) & 0x5555_5555)
            })
            .collect();
        let bytes: Vec<u8> = data.iter().flat_map(|w| w.to_le_bytes()).collect();
        Buffer::new(client.create_from_slice(&bytes), words)
    }

    fn matrix(client: &Client, shape: [usize; 2]) -> FloatMatrix {
        let handle = client.create_from_slice(&vec![0x3Cu8; 2 * shape[0] * shape[1]]);
        FloatMatrix::new(handle, shape, [shape[1], 1], FloatType::BF16).expect("a matrix")
    }

    /// Floats of many values, none of them NaN or infinite.
    fn numbers(client: &Client, shape: [usize; 2]) -> FloatMatrix {
        let bytes: Vec<u8> = (0..(shape[0] * shape[1]) as u32)
            .flat_map(|i| {
                let bits = i.wrapping_mul(2_654_435_761) >> 16;
                // Either sign, magnitudes from 2⁻⁸ to 1.
                let exponent = 0x3B80 + (bits & 0x03FF);
                (((bits & 0x8000) | exponent) as u16).to_le_bytes()
            })
            .collect();
        let handle = client.create_from_slice(&bytes);
        FloatMatrix::new(handle, shape, [shape[1], 1], FloatType::BF16).expect("a matrix")
    }

    pub struct Case {
        pub m: usize,
        pub n: usize,
        pub k: usize,
        pub float: bool,
        pub quantize: bool,
        pub fused: bool,
    }

    impl Case {
        /// What tensor cores multiply.
        fn types(&self) -> MmaType {
            match self.float {
                true => MmaType::Bf16,
                false => MmaType::Int8,
            }
        }
    }

    pub struct Bench {
        client: Client,
        case: Case,
        x: FloatMatrix,
        codes: QuantizedActivations,
        weights: Vec<PrepackedWeights>,
        y: FloatMatrix,
        y_handle: Handle,
    }

    impl Bench {
        pub fn new(client: &Client, case: Case) -> Self {
            let Case { m, n, k, .. } = case;
            let layout = PackedLayout::new(n, k, WeightCode::Ternary, ScaleGranularity::Tensor)
                .expect("a layout");
            let order = if case.float {
                FragmentOrder::Half
            } else {
                FragmentOrder::Int8
            };
            let words = PrepackedWeights::fragments(&layout, order)
                .expect("prepackable")
                .word_count();
            let weights = (0..COLD_BYTES.div_ceil(words * 4))
                .map(|_| {
                    PrepackedWeights::new(
                        layout.clone(),
                        order,
                        random(client, words),
                        // Of each copy its own: the scales of a model are as cold as its weights.
                        random(client, n),
                    )
                    .expect("weights")
                })
                .collect();
            let codes = random(client, m * QuantizedActivations::words_per_row(k));
            let y_handle = client.create_from_slice(&vec![0u8; 2 * m * n]);
            Self {
                client: client.clone(),
                x: numbers(client, [m, k]),
                codes: QuantizedActivations::new(m, k, codes, random(client, m))
                    .expect("activations"),
                weights,
                y: FloatMatrix::new(y_handle.clone(), [m, n], [n, 1], FloatType::BF16)
                    .expect("a matrix"),
                y_handle,
                case,
            }
        }

        fn call(&self, i: usize, strategy: Strategy) {
            let weights = &self.weights[i % self.weights.len()];
            if self.case.float {
                product::w2a16(&self.client, &self.x, weights, None, &self.y, strategy)
                    .expect("a launch");
                return;
            }
            if self.case.fused && matches!(strategy, Strategy::Forced(plan) if plan.quantizes()) {
                let (x, y) = (&self.x, &self.y);
                product::w2a8_quantizing(&self.client, x, weights, None, y, strategy)
                    .expect("a launch");
                return;
            }
            if self.case.quantize {
                quantize::activation::launch(&self.client, &self.x, &self.codes).expect("a launch");
            }
            product::w2a8(&self.client, &self.codes, weights, None, &self.y, strategy)
                .expect("a launch");
        }

        /// The bytes of y after one call.
        fn output(&self, strategy: Strategy) -> Vec<u8> {
            self.call(0, strategy);
            let bytes = self.client.read_one(self.y_handle.clone());
            bytes.expect("a result").to_vec()
        }

        /// Median microseconds of a call.
        pub fn time(&self, strategy: Strategy) -> f64 {
            let calls = self.weights.len().clamp(20, 200);
            let run = || (0..calls).for_each(|i| self.call(i, strategy));
            self.call(0, strategy);
            // SAFETY: every buffer of the recorded calls lives as long as `self`.
            unsafe { replay::time(&self.client, [12, 2], run) / calls as f64 }
        }
    }

    fn plans(case: &Case, facts: &DeviceFacts) -> Vec<Plan> {
        let layout = PackedLayout::new(
            case.n,
            case.k,
            WeightCode::Ternary,
            ScaleGranularity::Tensor,
        )
        .expect("a layout");
        let (activations, order) = match case.float {
            true => (ActivationType::Float(FloatType::BF16), FragmentOrder::Half),
            false => (ActivationType::Int8, FragmentOrder::Int8),
        };
        let problem =
            MatmulProblem::new(case.m, &layout, activations, WeightOrder::Fragments(order));
        let chosen = Strategy::Auto.plan(&problem, facts).plan;
        let mut all = vec![chosen];
        match chosen {
            Plan::Skinny(plan) => {
                let wide = WgmmaBlueprint::candidates(
                    &problem,
                    case.types(),
                    &facts.cuda.expect("a CUDA device"),
                );
                if case.m > 4 {
                    all.extend(
                        wide.into_iter()
                            .filter(|plan| plan.tokens <= 16)
                            .map(Plan::Wgmma),
                    );
                }
                let tiles = case.k.div_ceil(128);
                for strips in [1, 2, 4] {
                    for splits in [1, 2, 4, 5, 7, 8, 10, 13, 16, 20, 25] {
                        // All loads of a warp at once, or in two or three rounds.
                        let all_ahead = tiles.div_ceil(splits);
                        let rounds = [1, 2, 3].map(|rounds| all_ahead.div_ceil(rounds));
                        for ahead in rounds {
                            let round = splits * ahead;
                            for per_warp in [false, true] {
                                let candidate = Plan::Skinny(SkinnyBlueprint {
                                    strips,
                                    splits,
                                    ahead,
                                    chunk: plan.chunk.max(tiles).div_ceil(round) * round,
                                    per_warp,
                                    ..plan
                                });
                                let runs = ahead <= 8 && strips * splits <= 32;
                                if runs && !all.contains(&candidate) {
                                    all.push(candidate);
                                }
                            }
                        }
                    }
                }
            }
            Plan::Wgmma(_) => {
                let cuda = facts.cuda.expect("a CUDA device");
                let listed = WgmmaBlueprint::candidates(&problem, case.types(), &cuda);
                all.extend(listed.into_iter().map(Plan::Wgmma));
            }
            _ => {}
        }
        all
    }

    /// Microseconds of the two backward products.
    fn backward(client: &Client, m: usize, n: usize, k: usize) {
        let layout = PackedLayout::new(n, k, WeightCode::Ternary, ScaleGranularity::Tensor)
            .expect("a layout");
        let words = random(client, layout.word_count());
        let weights = PackedWeights::new(layout, words, random(client, 1)).expect("weights");
        let codes = random(client, m * QuantizedActivations::words_per_row(k));
        let x = QuantizedActivations::new(m, k, codes, random(client, m)).expect("activations");
        let (dy, dx, dw) = (
            matrix(client, [m, n]),
            matrix(client, [m, k]),
            matrix(client, [n, k]),
        );
        let time = |call: &dyn Fn()| {
            call();
            sync(client);
            let start = Instant::now();
            (0..10).for_each(|_| call());
            sync(client);
            start.elapsed().as_secs_f64() * 1e5
        };
        let input = time(&|| backward::input(client, &dy, &weights, &dx).expect("a launch"));
        let weight = time(&|| backward::weight(client, &dy, &x, &dw).expect("a launch"));
        println!("backward {m}x{n}x{k}: input {input:.1} us, weight {weight:.1} us");
    }

    /// Plans for one token whose warps quantise it, the selector's first.
    fn own(problem: &MatmulProblem, facts: &DeviceFacts) -> Vec<Plan> {
        let mut all = vec![Strategy::Auto.plan(problem, facts).plan];
        let tiles = problem.k.div_ceil(128);
        for splits in [1, 2, 4, 5, 7, 8, 10, 13, 16, 20, 25, 32] {
            let ahead = tiles.div_ceil(splits);
            let plan = Plan::Skinny(SkinnyBlueprint {
                quantizes: true,
                ..SkinnyBlueprint::one_round(splits, ahead)
            });
            if ahead <= 8 && !all.contains(&plan) {
                all.push(plan);
            }
        }
        all
    }

    /// Times the plans that quantise inside, up to `most` of them in the order of the model, beside the
    /// quantiser and the product that the selector takes.
    fn fused(client: &Client, facts: &DeviceFacts, arg: &str, case: Case, most: usize) {
        let Case { m, n, k, .. } = case;
        let layout = PackedLayout::new(n, k, WeightCode::Ternary, ScaleGranularity::Tensor)
            .expect("a layout");
        let activations = ActivationType::Quantized(FloatType::BF16);
        let order = WeightOrder::Fragments(FragmentOrder::Int8);
        let problem = MatmulProblem::new(m, &layout, activations, order);
        let cuda = facts.cuda.expect("a CUDA device");
        let mut plans: Vec<Plan> = match m {
            1 => own(&problem, facts),
            _ => FusedBlueprint::ranked(&problem, &cuda)
                .into_iter()
                .map(Plan::Fused)
                .collect(),
        };
        let count = plans.len();
        plans.truncate(most);
        let bench = Bench::new(client, case);
        let apart = bench.time(Strategy::Auto);
        println!("{arg}: quantiser and product {apart:.2} us, {count} plans for one launch");
        let expected = bench.output(Strategy::Auto);
        let mut rows = Vec::new();
        for (rank, plan) in plans.into_iter().enumerate() {
            let strategy = Strategy::Forced(plan);
            if rank == 0 {
                let same = bench.output(strategy) == expected;
                println!("    outputs of the first plan equal: {same}");
            }
            rows.push((bench.time(strategy), rank, plan));
        }
        rows.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (best, chosen) = (rows.first(), rows.iter().find(|row| row.1 == 0));
        if let (Some((best, ..)), Some((time, _, plan))) = (best, chosen) {
            println!("    the model's first choice {time:.2} us, the best {best:.2} us: {plan:?}");
        }
        for (time, rank, plan) in rows {
            println!("    {time:.2} us, rank {rank}, {plan:?}");
        }
    }

    pub fn run() {
        let client = Device::Cuda(Default::default()).client();
        let facts = DeviceFacts::of(&client);
        let mut args: Vec<String> = std::env::args().skip(1).collect();
        let few = args.iter().any(|a| a == "auto");
        args.retain(|a| a != "auto");
        let most = args.iter().find_map(|a| a.strip_prefix("most="));
        let most = most.map_or(usize::MAX, |most| most.parse().expect("a number"));
        args.retain(|a| !a.starts_with("most="));
        for arg in args {
            let (kind, shape) = arg
                .split_once(':')
                .expect("KIND:MxNxK, KIND int8, quant, fused, bf16 or back");
            let sizes: Vec<usize> = shape
                .split('x')
                .map(|n| n.parse().expect("a number"))
                .collect();
            let case = Case {
                m: sizes[0],
                n: sizes[1],
                k: sizes[2],
                float: kind == "bf16",
                quantize: kind == "quant" || kind == "fused",
                fused: kind == "fused",
            };
            if kind == "fused" {
                fused(&client, &facts, &arg, case, most);
                continue;
            }
            if kind == "back" {
                backward(&client, sizes[0], sizes[1], sizes[2]);
                continue;
            }
            let ops = 2.0 * (case.m * case.n * case.k) as f64;
            let bytes = (case.n * case.k) as f64 / 4.0;
            let (plans, types) = (plans(&case, &facts), case.types());
            let bench = Bench::new(&client, case);
            let mut rows = Vec::new();
            for (i, plan) in plans.iter().enumerate() {
                if few && i > 0 {
                    break;
                }
                let fits = match plan {
                    Plan::Wgmma(plan) => plan.validate(types, &facts).is_ok(),
                    Plan::Skinny(plan) => {
                        let operand = MmaInput { types, terms: 1 };
                        plan.validate(operand, sizes[2], &facts).is_ok()
                    }
                    _ => true,
                };
                if fits {
                    rows.push((bench.time(Strategy::Forced(*plan)), i, *plan));
                }
            }
            rows.sort_by(|a, b| a.0.total_cmp(&b.0));
            let chosen = rows.iter().find(|row| row.1 == 0).expect("the chosen plan");
            println!(
                "{arg}: chosen {:.2} us, {:.2} TB/s, {:.0} TOPS  {:?}",
                chosen.0,
                bytes / chosen.0 * 1e-6,
                ops / chosen.0 * 1e-6,
                chosen.2
            );
            for row in rows.iter().take(24) {
                println!("    {:.2} us {:?}", row.0, row.2);
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
