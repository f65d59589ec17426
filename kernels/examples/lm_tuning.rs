//! Checks and times the kernels around the products of a language model on an NVIDIA GPU, at the
//! shapes of BitNet b1.58 2B-4T: `lm_tuning [--small] [--no-check] [NAME ...]`, names as printed
//! first on a line (`norm`, `glu`, `rotary`, `attention`, `prefill`, `dense`, `embedding`, `argmax`,
//! `step`).
//!
//! Each line says whether the results equal the host's and how long a launch takes: the median of
//! replays of a CUDA graph of many launches. What a model reads cold (weights of the head, caches of
//! thirty layers) rotates through more than the L2 cache holds. `--small` shrinks the vocabulary and
//! the number of buffers, to compile every kernel quickly.

#[cfg(feature = "cuda")]
#[path = "../tests/portable/harness.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod harness;
#[cfg(feature = "cuda")]
#[path = "../tests/portable/reference.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod reference;

#[cfg(feature = "cuda")]
mod tuning {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::time::Instant;

    use cubecl::Device;
    use cubecl::client::Client;
    use cubecl::server::Handle;
    use tritburn_formats::quantize as codec;
    use tritburn_kernels::decoder::argmax::{self, ArgmaxScratch};
    use tritburn_kernels::decoder::attention::{self, AttentionScratch};
    use tritburn_kernels::decoder::dense::{self, DenseWeights};
    use tritburn_kernels::decoder::glu::GatedActivation;
    use tritburn_kernels::decoder::norm::{self, Residual, RowOutput};
    use tritburn_kernels::decoder::rotary::{self, Placement};
    use tritburn_kernels::decoder::{embedding, glu, step};
    use tritburn_kernels::{
        Buffer, FloatMatrix, FloatType, KvCache, QuantizedActivations, quantize,
    };

    use crate::harness::*;
    use crate::reference;

    const HIDDEN: usize = 2560;
    const INNER: usize = 6912;
    const HEADS: usize = 20;
    const KV_HEADS: usize = 5;
    const DIM: usize = 128;
    const POSITIONS: usize = 4096;
    const EPS: f32 = 1e-5;
    const TYPE: FloatType = FloatType::BF16;

    struct Bench {
        client: Client,
        names: Vec<String>,
        check: bool,
        vocabulary: usize,
        /// Caches of layers.
        layers: usize,
        failures: usize,
    }

    fn sync(client: &Client) {
        cubecl::future::block_on(client.sync()).expect("the device finishes");
    }

    impl Bench {
        fn wanted(&self, name: &str) -> bool {
            self.names.is_empty() || self.names.iter().any(|n| n == name)
        }

        /// Median microseconds of `call(i)` for `i` in `0..calls`, one after another.
        fn time(&self, calls: usize, call: impl Fn(usize)) -> f64 {
            let run = || (0..calls).for_each(&call);
            let client = &self.client;
            call(0);
            sync(client);
            client.graph_prepare().expect("a capture");
            run();
            sync(client);
            client.start_capture().expect("a capture");
            run();
            let graph = client.stop_capture().expect("a graph");
            let mut times: Vec<f64> = (0..15)
                .map(|_| {
                    sync(client);
                    let start = Instant::now();
                    // SAFETY: every buffer of the recorded calls outlives this function.
                    unsafe { graph.replay() }.expect("a replay");
                    sync(client);
                    start.elapsed().as_secs_f64() * 1e6 / calls as f64
                })
                .collect();
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        }

        /// One line: `call(0)`, checked, then timed. `bytes` is what a call has to move.
        fn case(
            &mut self,
            what: &str,
            calls: usize,
            bytes: usize,
            call: impl Fn(usize),
            check: impl Fn(),
        ) {
            call(0);
            sync(&self.client);
            let result = match self.check {
                true => match catch_unwind(AssertUnwindSafe(check)) {
                    Ok(()) => "ok",
                    Err(_) => {
                        self.failures += 1;
                        "WRONG"
                    }
                },
                false => "unchecked",
            };
            let time = self.time(calls, call);
            let rate = bytes as f64 / time * 1e-6;
            println!("{what:<44} {result:<9} {time:>9.2} us  {rate:>6.2} TB/s");
        }

        fn floats(&self, seed: usize, shape: [usize; 2]) -> (Vec<f32>, FloatMatrix) {
            let host = floats(&mut rng(seed), shape[0] * shape[1], TYPE);
            let matrix = float_matrix(&self.client, &host, shape, shape[1], TYPE);
            (host, matrix)
        }

        fn codes(&self, rows: usize, cols: usize) -> (QuantizedActivations, [Handle; 2]) {
            let words = rows * QuantizedActivations::words_per_row(cols);
            let (codes, codes_handle) = empty(&self.client, words);
            let (scales, scales_handle) = empty(&self.client, rows);
            let out = QuantizedActivations::new(rows, cols, codes, scales);
            (out.expect("activations"), [codes_handle, scales_handle])
        }

        fn assert_codes(&self, handles: &[Handle; 2], y: &[f64], k: usize) {
            let codes = read_u32(&self.client, &handles[0]);
            let scales = read_f32(&self.client, &handles[1]);
            reference::assert_quantised(&codes, &scales, y, k, "codes");
        }

        fn norm(&mut self, tokens: usize) {
            let client = self.client.clone();
            let shape = [tokens, HIDDEN];
            let (x, x_matrix) = self.floats(1, shape);
            let (stream, _) = self.floats(2, shape);
            let h = reference::sum(&x, &stream, TYPE);
            let gamma = floats(&mut rng(3), HIDDEN, TYPE);
            let gamma_vector = float_vector(&client, &gamma, TYPE);
            let add = float_matrix(&client, &stream, shape, HIDDEN, TYPE);
            let sum = Out::new(&client, shape, HIDDEN, TYPE);
            let (codes, handles) = self.codes(tokens, HIDDEN);
            let y = || {
                let h: Vec<f64> = h.iter().map(|&h| h as f64).collect();
                reference::rms_norm(&h, &gamma, EPS)
            };
            let residual = Residual::Add {
                add: &add,
                sum: &sum.matrix,
            };
            let bytes = tokens * HIDDEN * 7;
            let this = Self {
                client: client.clone(),
                names: vec![],
                ..*self
            };
            self.case(
                &format!("norm residual+int8 {tokens}x{HIDDEN}"),
                40,
                bytes,
                |_| {
                    let out = RowOutput::Int8(&codes);
                    norm::launch(&client, &x_matrix, residual, &gamma_vector, EPS, out)
                        .expect("a launch");
                },
                || {
                    assert_bits(&sum.read(&client), &h, "sum");
                    this.assert_codes(&handles, &y(), HIDDEN);
                },
            );
            // In place the sum grows with every call: timed only.
            let moving = Out::filled(&client, &stream, shape, HIDDEN, TYPE);
            self.case(
                &format!("norm in-place+int8 {tokens}x{HIDDEN}"),
                40,
                bytes,
                |_| {
                    let out = RowOutput::Int8(&codes);
                    let residual = Residual::InPlace(&moving.matrix);
                    norm::launch(&client, &x_matrix, residual, &gamma_vector, EPS, out)
                        .expect("a launch");
                },
                || {
                    assert_bits(&moving.read(&client), &h, "sum");
                    this.assert_codes(&handles, &y(), HIDDEN);
                },
            );
            let floats = Out::new(&client, shape, HIDDEN, TYPE);
            self.case(
                &format!("norm plain+bf16 {tokens}x{HIDDEN}"),
                40,
                tokens * HIDDEN * 4,
                |_| {
                    let out = RowOutput::Float(&floats.matrix);
                    norm::launch(&client, &add, Residual::None, &gamma_vector, EPS, out)
                        .expect("a launch");
                },
                || {
                    let x: Vec<f64> = stream.iter().map(|&x| x as f64).collect();
                    let y = reference::rms_norm(&x, &gamma, EPS);
                    let bounds: Vec<f64> = y.iter().map(|y| 0.008 * y.abs() + 1e-6).collect();
                    assert_within(&floats.read(&client), &y, &bounds, "y");
                },
            );
            self.case(
                &format!("norm (quantiser alone) {tokens}x{HIDDEN}"),
                40,
                tokens * HIDDEN * 3,
                |_| quantize::activation::launch(&client, &x_matrix, &codes).expect("a launch"),
                || {
                    let expected = codec::QuantizedActivations::quantize(&x, HIDDEN);
                    let found = read_u32(&client, &handles[0]);
                    assert_eq!(found, expected.expect("rows").words());
                },
            );
        }

        fn glu(&mut self, tokens: usize) {
            let client = self.client.clone();
            let (x, x_matrix) = self.floats(1, [tokens, 2 * INNER]);
            let gamma = floats(&mut rng(3), INNER, TYPE);
            let gamma_vector = float_vector(&client, &gamma, TYPE);
            let (codes, handles) = self.codes(tokens, INNER);
            let this = Self {
                client: client.clone(),
                names: vec![],
                ..*self
            };
            self.case(
                &format!("glu int8 {tokens}x{INNER}"),
                40,
                tokens * INNER * 5,
                |_| {
                    glu::launch(
                        &client,
                        &x_matrix,
                        GatedActivation::SquaredRelu,
                        Some((&gamma_vector, EPS)),
                        RowOutput::Int8(&codes),
                    )
                    .expect("a launch");
                },
                || {
                    let y = reference::rms_norm(&reference::relu2(&x, INNER), &gamma, EPS);
                    this.assert_codes(&handles, &y, INNER);
                },
            );
        }

        fn cache(&self, rows: usize, positions: usize, seed: usize) -> (KvCache, [Vec<f32>; 2]) {
            let shape = [rows, KV_HEADS, positions, DIM];
            let len = shape.iter().product();
            let mut rng = rng(seed);
            let host = [(); 2].map(|()| floats(&mut rng, len, TYPE));
            let keys = upload(&self.client, &host[0], TYPE);
            let values = upload(&self.client, &host[1], TYPE);
            let cache = KvCache::new(keys, values, shape, TYPE).expect("a cache");
            (cache, host)
        }

        fn rotary(&mut self, tokens: usize) {
            let client = self.client.clone();
            let all = (HEADS + 2 * KV_HEADS) * DIM;
            let (qkv, qkv_matrix) = self.floats(1, [tokens, all]);
            let q = Out::new(&client, [tokens, HEADS * DIM], HEADS * DIM, TYPE);
            let (cache, _) = self.cache(1, POSITIONS, 2);
            let table = rotary::table(POSITIONS, DIM, 500_000.0);
            let device_table = scales(&client, &table);
            let rows = words(&client, &vec![0; tokens]);
            let first = 1000;
            let positions: Vec<u32> = (0..tokens as u32).map(|t| first + t).collect();
            let device_positions = words(&client, &positions);
            let place = Placement {
                rows: &rows,
                positions: &device_positions,
            };
            self.case(
                &format!("rotary {tokens}x{all}"),
                40,
                tokens * all * 4,
                |_| {
                    rotary::launch(
                        &client,
                        &qkv_matrix,
                        &device_table,
                        place,
                        &q.matrix,
                        1.0,
                        &cache,
                    )
                    .expect("a launch");
                },
                || {
                    let found = q.read(&client);
                    for (t, position) in positions.iter().enumerate() {
                        let angles = &table[*position as usize * DIM..][..DIM];
                        for head in 0..HEADS {
                            let x = &qkv[t * all + head * DIM..][..DIM];
                            let expected = reference::rotate(x, angles);
                            let bounds: Vec<f64> =
                                expected.iter().map(|y| 0.008 * y.abs() + 1e-5).collect();
                            let found = &found[(t * HEADS + head) * DIM..][..DIM];
                            assert_within(found, &expected, &bounds, "q");
                        }
                    }
                },
            );
        }

        /// `tokens` rows, each at position `position`; or one row up to it, if `prompt`.
        fn attention(&mut self, tokens: usize, position: usize, prompt: bool) {
            let client = self.client.clone();
            let width = HEADS * DIM;
            let (q, q_matrix) = self.floats(1, [tokens, width]);
            let out = Out::new(&client, [tokens, width], width, TYPE);
            let rows = if prompt { 1 } else { tokens };
            let count = if tokens == 1 { self.layers } else { 1 };
            let (first, host) = self.cache(rows, POSITIONS, 2);
            let others = (1..count).map(|i| self.cache(rows, POSITIONS, 2 + i).0);
            let caches: Vec<KvCache> = [first].into_iter().chain(others).collect();
            let (row_of, position_of): (Vec<u32>, Vec<u32>) = (0..tokens)
                .map(|t| match prompt {
                    true => (0, (position + 1 - tokens + t) as u32),
                    false => (t as u32, position as u32),
                })
                .unzip();
            let place = Placement {
                rows: &words(&client, &row_of),
                positions: &words(&client, &position_of),
            };
            let scratch = AttentionScratch::new(&client);
            let scale = 1.0 / (DIM as f32).sqrt();
            let (name, run): (_, Run) = match prompt {
                true => ("prefill", attention::prefill),
                false => ("attention", attention::launch),
            };
            let bytes = rows * (position + 1) * KV_HEADS * DIM * 4 + tokens * width * 4;
            self.case(
                &format!("{name} {tokens} tokens to position {position}"),
                if tokens == 1 { 30 } else { 4 },
                bytes,
                |i| {
                    let cache = &caches[i % caches.len()];
                    run(
                        &client,
                        &q_matrix,
                        cache,
                        place,
                        &out.matrix,
                        scale,
                        &scratch,
                    )
                    .expect("a launch");
                },
                || {
                    run(
                        &client,
                        &q_matrix,
                        &caches[0],
                        place,
                        &out.matrix,
                        scale,
                        &scratch,
                    )
                    .expect("a launch");
                    let found = out.read(&client);
                    for t in (0..tokens).step_by(tokens.div_ceil(40)).chain([tokens - 1]) {
                        let (row, len) = (row_of[t] as usize, position_of[t] as usize + 1);
                        for head in 0..HEADS {
                            let kv = row * KV_HEADS + head / (HEADS / KV_HEADS);
                            let start = kv * POSITIONS * DIM;
                            let at = (t * HEADS + head) * DIM;
                            let expected = reference::attend(
                                &q[at..at + DIM],
                                &host[0][start..start + len * DIM],
                                &host[1][start..start + len * DIM],
                                scale,
                            );
                            let bounds: Vec<f64> =
                                expected.iter().map(|y| 0.016 * (y.abs() + 0.1)).collect();
                            let what = format!("token {t} head {head}");
                            assert_within(&found[at..at + DIM], &expected, &bounds, &what);
                        }
                    }
                },
            );
        }

        fn dense(&mut self, tokens: usize, int8: bool) {
            let client = self.client.clone();
            let vocabulary = self.vocabulary;
            let (x, x_matrix) = self.floats(1, [tokens, HIDDEN]);
            let y = Out::new(&client, [tokens, vocabulary], vocabulary, FloatType::F32);
            let block = floats(&mut rng(2), (1 << 16).min(vocabulary) * HIDDEN, TYPE);
            let w: Vec<f32> = block
                .iter()
                .copied()
                .cycle()
                .take(vocabulary * HIDDEN)
                .collect();
            let matrix = float_matrix(&client, &w, [vocabulary, HIDDEN], HIDDEN, TYPE);
            let (codes, handles) = self.codes(if int8 { vocabulary } else { 1 }, HIDDEN);
            if int8 {
                quantize::activation::launch(&client, &matrix, &codes).expect("a launch");
                sync(&client);
            }
            let weights = match int8 {
                true => DenseWeights::Int8(&codes),
                false => DenseWeights::Float(&matrix),
            };
            let name = if int8 { "int8" } else { "bf16" };
            self.case(
                &format!("dense {name} {tokens}x{vocabulary}x{HIDDEN}"),
                4,
                vocabulary * HIDDEN * if int8 { 1 } else { 2 },
                |_| dense::launch(&client, &x_matrix, weights, &y.matrix).expect("a launch"),
                || {
                    let found = y.read(&client);
                    let scales = read_f32(&client, &handles[1]);
                    let words = read_u32(&client, &handles[0]);
                    let per_row = QuantizedActivations::words_per_row(HIDDEN);
                    for row in (0..vocabulary).step_by(97).chain([vocabulary - 1]) {
                        let mut w = w[row * HIDDEN..(row + 1) * HIDDEN].to_vec();
                        if int8 {
                            let codes = words[row * per_row..(row + 1) * per_row].iter();
                            let codes = codes.flat_map(|word| word.to_le_bytes());
                            w = codes
                                .map(|q| q as i8 as f32 * scales[row])
                                .take(HIDDEN)
                                .collect();
                        }
                        let (expected, sizes) = reference::product(&x, &w, HIDDEN);
                        let bounds: Vec<f64> = sizes.iter().map(|size| 2e-5 * size).collect();
                        let found: Vec<f32> =
                            (0..tokens).map(|t| found[t * vocabulary + row]).collect();
                        assert_within(&found, &expected, &bounds, &format!("row {row}"));
                    }
                },
            );
        }

        fn embedding(&mut self, tokens: usize) {
            let client = self.client.clone();
            let rows = 5000;
            let (table, matrix) = self.floats(1, [rows, HIDDEN]);
            let ids: Vec<u32> = (0..tokens as u32)
                .map(|t| (t * 37 + 11) % rows as u32)
                .collect();
            let device_ids = words(&client, &ids);
            let out = Out::new(&client, [tokens, HIDDEN], HIDDEN, TYPE);
            self.case(
                &format!("embedding {tokens}x{HIDDEN}"),
                40,
                tokens * HIDDEN * 4,
                |_| {
                    embedding::launch(&client, &matrix, &device_ids, &out.matrix)
                        .expect("a launch");
                },
                || {
                    let rows = ids
                        .iter()
                        .map(|&id| &table[id as usize * HIDDEN..][..HIDDEN]);
                    assert_bits(
                        &out.read(&client),
                        &rows.collect::<Vec<_>>().concat(),
                        "rows",
                    );
                },
            );
        }

        fn argmax(&mut self, tokens: usize) {
            let client = self.client.clone();
            let shape = [tokens, self.vocabulary];
            let host = floats(&mut rng(1), shape[0] * shape[1], FloatType::F32);
            let x = float_matrix(&client, &host, shape, shape[1], FloatType::F32);
            let (ids, handle) = empty(&client, tokens);
            let scratch = ArgmaxScratch::new(&client, tokens);
            self.case(
                &format!("argmax {tokens}x{}", shape[1]),
                40,
                tokens * shape[1] * 4,
                |_| argmax::launch(&client, &x, &ids, &scratch).expect("a launch"),
                || {
                    let expected = host.chunks(shape[1]).map(reference::argmax);
                    assert_eq!(read_u32(&client, &handle), expected.collect::<Vec<_>>());
                },
            );
        }

        fn step(&mut self, tokens: usize) {
            let client = self.client.clone();
            let zeros = |len| words(&client, &vec![0; len]);
            let positions = zeros(tokens);
            let ids = words(&client, &vec![7; tokens]);
            let (next, handle) = empty(&client, tokens);
            self.case(
                &format!("step advance {tokens}"),
                40,
                0,
                |_| step::advance(&client, &ids, &next, &positions).expect("a launch"),
                || assert_eq!(read_u32(&client, &handle), vec![7; tokens]),
            );
            let copy: Buffer = zeros(tokens);
            self.case(
                &format!("step copy {tokens}"),
                40,
                0,
                |_| step::copy_u32(&client, &ids, &copy).expect("a launch"),
                || {},
            );
        }
    }

    type Run = fn(
        &Client,
        &FloatMatrix,
        &KvCache,
        Placement<'_>,
        &FloatMatrix,
        f32,
        &AttentionScratch,
    ) -> Result<(), tritburn_kernels::KernelError>;

    pub fn run() {
        let mut names: Vec<String> = std::env::args().skip(1).collect();
        let mut flag = |name: &str| {
            let count = names.len();
            names.retain(|n| n != name);
            names.len() < count
        };
        let (small, check) = (flag("--small"), !flag("--no-check"));
        let mut bench = Bench {
            client: Device::Cuda(Default::default()).client(),
            names,
            check,
            vocabulary: if small { 1024 } else { 128_256 },
            layers: if small { 1 } else { 30 },
            failures: 0,
        };
        let many = if small { 64 } else { 2048 };
        for tokens in [1, 32, many] {
            if bench.wanted("norm") {
                bench.norm(tokens);
            }
            if bench.wanted("glu") {
                bench.glu(tokens);
            }
            if bench.wanted("rotary") {
                bench.rotary(tokens);
            }
            if bench.wanted("embedding") {
                bench.embedding(tokens);
            }
            if bench.wanted("step") {
                bench.step(tokens);
            }
        }
        if bench.wanted("attention") {
            for position in [0, 63, 511, 2047, 4095] {
                bench.attention(1, position, false);
            }
            bench.attention(8, 1023, false);
            bench.attention(32, 1023, false);
        }
        if bench.wanted("prefill") {
            for tokens in [32, 512, many] {
                bench.attention(tokens, tokens - 1, true);
            }
            bench.attention(512, 2047, true);
        }
        if bench.wanted("dense") {
            for tokens in [1, 4, 8, 16] {
                bench.dense(tokens, false);
                bench.dense(tokens, true);
            }
        }
        if bench.wanted("argmax") {
            bench.argmax(1);
            bench.argmax(32);
        }
        println!("{} wrong", bench.failures);
    }
}

fn main() {
    #[cfg(feature = "cuda")]
    tuning::run();
    #[cfg(not(feature = "cuda"))]
    println!("build with --features cuda");
}
