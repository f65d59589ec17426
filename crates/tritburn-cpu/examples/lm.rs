//! Measures what surrounds the 2-bit products of a decoder, at the shapes of a 2-billion-parameter
//! model: hidden 2560, 20 query and 5 key heads of 128, 6912 gated units, vocabulary 128256.
//!
//! ```text
//! cargo run --release -p tritburn-cpu --example lm [-- --threads 2] [--isa avx512-vnni] [--only head]
//! ```
//!
//! Each line is the fastest call of many, in microseconds, and what it means in GB/s of the largest
//! operand or in GFLOP/s. Caches and weights are walked through in several copies, so that they come
//! from memory as they do between the layers of a model.

use std::hint::black_box;
use std::time::{Duration, Instant};

use half::f16;
use tritburn_cpu::internals::{
    attention_with, dense_head_with, embedding_with, gated_quantize_with, int8_head_with,
    rms_norm_quantize_with, rotary_append_with, rotary_table,
};
use tritburn_cpu::{
    Gate, GatedActivation, Heads, Int8View, Isa, KvView, KvViewMut, QuantizedView, RmsNorm,
    TokenView, quantize_activations,
};
use tritburn_formats::layout::activation_words_per_row;

const HIDDEN: usize = 2560;
const UNITS: usize = 6912;
const VOCABULARY: usize = 128_256;
const QUERY_HEADS: usize = 20;
const KV_HEADS: usize = 5;
const DIM: usize = 128;
const POSITIONS: usize = 4096;
/// Layers whose caches are walked through.
const LAYERS: usize = 8;
const EPS: f32 = 1e-5;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let option = |name: &str| {
        args.iter()
            .position(|a| a == name)
            .and_then(|at| args.get(at + 1))
    };
    let threads = option("--threads").map_or(2, |v| v.parse().expect("--threads takes a number"));
    let isa = option("--isa").map_or(Isa::detect(), |name| {
        name.parse().expect("--isa takes an instruction set")
    });
    let wanted = |name: &str| option("--only").is_none_or(|only| name.contains(only.as_str()));
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .expect("the pool is made once");
    println!("{isa}, {threads} threads");
    println!("{:44} {:>12}", "", "us");

    for tokens in [1, 8, 512] {
        if wanted("norm") {
            norms(isa, tokens);
        }
        if wanted("rotary") {
            rotary(isa, tokens);
        }
        if wanted("embedding") {
            embeddings(isa, tokens);
        }
    }
    if wanted("attention") {
        for (batch, context) in [(1, 512), (1, 4096), (8, 512)] {
            decode(isa, batch, context);
        }
        for tokens in [8, 128, 512, 2048] {
            prefill(isa, tokens);
        }
    }
    if wanted("head") {
        heads(isa);
    }
}

/// The fastest of many calls, at least five and then for two seconds.
fn best(mut call: impl FnMut(usize)) -> Duration {
    let start = Instant::now();
    let mut best = Duration::MAX;
    let mut count = 0;
    while count < 5 || start.elapsed() < Duration::from_secs(2) {
        let start = Instant::now();
        call(count);
        best = best.min(start.elapsed());
        count += 1;
    }
    best
}

/// `work` in units of which a nanosecond has one: bytes for GB/s, operations for GFLOP/s.
fn report(what: &str, time: Duration, work: f64, unit: &str) {
    let nanoseconds = time.as_nanos() as f64;
    println!(
        "{what:44} {:12.1} {:10.1} {unit}",
        nanoseconds / 1e3,
        work / nanoseconds
    );
}

fn floats(len: usize) -> Vec<f32> {
    (0..len)
        .map(|i| ((i * 7919 % 1013) as f32 - 506.0) / 300.0)
        .collect()
}

fn halves(len: usize) -> Vec<f16> {
    let some: Vec<f16> = floats(4093).into_iter().map(f16::from_f32).collect();
    some.iter().copied().cycle().take(len).collect()
}

fn norms(isa: Isa, tokens: usize) {
    let gamma = vec![1.0; UNITS];
    let norm = |k: usize| RmsNorm {
        gamma: &gamma[..k],
        eps: EPS,
    };
    let (x, residual) = (floats(tokens * HIDDEN), floats(tokens * HIDDEN));
    let mut sum = vec![0.0; tokens * HIDDEN];
    let mut codes = vec![0; tokens * activation_words_per_row(UNITS)];
    let mut scales = vec![0.0; tokens];
    let words = tokens * activation_words_per_row(HIDDEN);
    let time = best(|_| {
        rms_norm_quantize_with(
            isa,
            &x,
            Some(&residual),
            norm(HIDDEN),
            Some(&mut sum),
            &mut codes[..words],
            &mut scales,
        )
        .expect("operands fit");
    });
    let bytes = (tokens * HIDDEN * 13) as f64;
    report(
        &format!("rms_norm_quantize T={tokens}"),
        time,
        bytes,
        "GB/s",
    );

    let gate_up = floats(tokens * 2 * UNITS);
    let gate = Gate {
        activation: GatedActivation::SquaredRelu,
        norm: Some(norm(UNITS)),
    };
    let time = best(|_| {
        gated_quantize_with(isa, &gate_up, UNITS, gate, &mut codes, &mut scales)
            .expect("operands fit");
    });
    let bytes = (tokens * UNITS * 9) as f64;
    let what = format!("gated_quantize T={tokens}");
    report(&what, time, bytes, "GB/s");
}

fn model_heads() -> Heads {
    Heads::new(QUERY_HEADS, KV_HEADS, DIM).expect("heads fit")
}

fn rotary(isa: Isa, tokens: usize) {
    let qkv = floats(tokens * (QUERY_HEADS + 2 * KV_HEADS) * DIM);
    let table = rotary_table(500_000.0, DIM, POSITIONS).expect("a valid table");
    let rows = vec![0; tokens];
    let positions: Vec<u32> = (0..tokens as u32).map(|i| 100 + i).collect();
    let mut q = vec![0.0; tokens * QUERY_HEADS * DIM];
    let mut keys = vec![f16::ZERO; KV_HEADS * POSITIONS * DIM];
    let mut values = keys.clone();
    let time = best(|_| {
        rotary_append_with(
            isa,
            &qkv,
            TokenView::new(&rows, &positions).expect("equal lengths"),
            &table,
            &mut q,
            KvViewMut::new(&mut keys, &mut values, 1, POSITIONS, model_heads())
                .expect("a valid cache"),
        )
        .expect("operands fit");
    });
    let bytes = (qkv.len() * 4 + q.len() * 4 + tokens * 2 * KV_HEADS * DIM * 2) as f64;
    report(
        &format!("rotary_append f16 T={tokens}"),
        time,
        bytes,
        "GB/s",
    );
}

fn embeddings(isa: Isa, tokens: usize) {
    let table = halves(VOCABULARY * HIDDEN);
    let mut out = vec![0.0; tokens * HIDDEN];
    let time = best(|call| {
        let ids: Vec<u32> = (0..tokens)
            .map(|i| ((call * tokens + i) * 7919 % VOCABULARY) as u32)
            .collect();
        embedding_with(isa, &table, HIDDEN, &ids, &mut out).expect("operands fit");
    });
    let bytes = (out.len() * 6) as f64;
    report(&format!("embedding f16 T={tokens}"), time, bytes, "GB/s");
}

fn decode(isa: Isa, batch: usize, context: usize) {
    let len = batch * KV_HEADS * POSITIONS * DIM;
    let (keys, values) = (halves(LAYERS * len), halves(LAYERS * len));
    let q = floats(batch * QUERY_HEADS * DIM);
    let rows: Vec<u32> = (0..batch as u32).collect();
    let positions = vec![context as u32 - 1; batch];
    let mut out = vec![0.0; q.len()];
    let time = best(|call| {
        let at = call % LAYERS * len;
        let (keys, values) = (&keys[at..][..len], &values[at..][..len]);
        let cache = KvView::new(keys, values, batch, POSITIONS, model_heads()).expect("fits");
        let tokens = TokenView::new(&rows, &positions).expect("equal lengths");
        attention_with(isa, &q, tokens, cache, 0.1, &mut out).expect("operands fit");
    });
    let bytes = (batch * context * KV_HEADS * DIM * 2 * 2) as f64;
    let what = format!("attention f16 decode B={batch} context {context}");
    report(&what, time, bytes, "GB/s");
}

fn prefill(isa: Isa, tokens: usize) {
    let len = KV_HEADS * POSITIONS * DIM;
    let (keys, values) = (halves(LAYERS * len), halves(LAYERS * len));
    let q = floats(tokens * QUERY_HEADS * DIM);
    let rows = vec![0; tokens];
    let positions: Vec<u32> = (0..tokens as u32).collect();
    let mut out = vec![0.0; q.len()];
    let time = best(|call| {
        let at = call % LAYERS * len;
        let (keys, values) = (&keys[at..][..len], &values[at..][..len]);
        let cache = KvView::new(keys, values, 1, POSITIONS, model_heads()).expect("fits");
        let tokens = TokenView::new(&rows, &positions).expect("equal lengths");
        attention_with(isa, &q, tokens, cache, 0.1, &mut out).expect("operands fit");
    });
    let pairs = (tokens * (tokens + 1) / 2) as f64;
    let work = pairs * (QUERY_HEADS * DIM * 4) as f64;
    let what = format!("attention f16 prefill T={tokens}");
    report(&what, time, work, "GFLOP/s");
}

fn heads(isa: Isa) {
    let weights = halves(VOCABULARY * HIDDEN);
    let codes: Vec<i8> = (0..VOCABULARY * HIDDEN).map(|i| (i * 31) as i8).collect();
    let row_scales = vec![1.0; VOCABULARY];
    for tokens in [1, 2, 4, 8, 16] {
        let x = floats(tokens * HIDDEN);
        let mut y = vec![0.0; tokens * VOCABULARY];
        let time = best(|_| {
            dense_head_with(isa, &x, &weights, HIDDEN, &mut y).expect("operands fit");
            black_box(&y);
        });
        let bytes = (weights.len() * 2) as f64;
        report(&format!("dense_head f16 T={tokens}"), time, bytes, "GB/s");

        let mut x_codes = vec![0; tokens * activation_words_per_row(HIDDEN)];
        let mut scales = vec![0.0; tokens];
        let time = best(|_| {
            quantize_activations(&x, HIDDEN, &mut x_codes, &mut scales).expect("operands fit");
            let x = QuantizedView::new(&x_codes, &scales, HIDDEN).expect("operands fit");
            let head = Int8View::new(&codes, &row_scales, HIDDEN).expect("operands fit");
            int8_head_with(isa, x, head, &mut y).expect("operands fit");
            black_box(&y);
        });
        let bytes = codes.len() as f64;
        report(&format!("int8_head T={tokens}"), time, bytes, "GB/s");
    }
}
