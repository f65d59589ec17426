//! Checks and times the kernels around the products of a language model on an NVIDIA GPU, at the
//! shapes of BitNet b1.58 2B-4T: `lm_tuning [--small] [--no-check] [NAME ...]`, names as printed
//! first on a line (`norm`, `glu`, `rotary`, `attention`, `prefill`, `dense`, `embedding`, `argmax`,
//! `step`, `stack`).
//!
//! Each line says whether the results equal the host's and how long a launch takes: the median of
//! replays of a CUDA graph of many launches. What a model reads cold (weights of the head, caches of
//! thirty layers) rotates through more than the L2 cache holds. `--small` shrinks the vocabulary and
//! the number of buffers, to compile every kernel quickly.

#[cfg(feature = "cuda")]
mod attention;
#[cfg(feature = "cuda")]
mod bench;
#[cfg(feature = "cuda")]
#[path = "../../tests/cuda/decoder_layers.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod decoder_layers;
#[cfg(feature = "cuda")]
#[path = "../../tests/portable/harness.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod harness;
#[cfg(feature = "cuda")]
mod head;
#[cfg(feature = "cuda")]
#[path = "../../tests/portable/reference.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod reference;
#[cfg(feature = "cuda")]
#[path = "../common/replay.rs"]
mod replay;
#[cfg(feature = "cuda")]
mod rows;
#[cfg(feature = "cuda")]
mod stack;

#[cfg(feature = "cuda")]
fn run() {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    let mut flag = |name: &str| {
        let count = names.len();
        names.retain(|n| n != name);
        names.len() < count
    };
    let (small, check) = (flag("--small"), !flag("--no-check"));
    let mut bench = bench::Bench {
        client: cubecl::Device::Cuda(Default::default()).client(),
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
    if bench.wanted("paged") {
        for tokens in [1, 2, 8, 32, 128, 256] {
            bench.attention(tokens, 575, false);
            bench.paged(tokens, 575, 4096);
        }
    }
    if bench.wanted("prefill") {
        for tokens in [32, 512, many] {
            bench.attention(tokens, tokens - 1, true);
        }
        bench.attention(512, 2047, true);
    }
    if bench.wanted("dense") {
        for tokens in [1, 16, 64, 256] {
            bench.dense(tokens);
            bench.dense_int8(tokens);
        }
    }
    if bench.wanted("stack") {
        for position in [0, 63, 511, 4027] {
            for block in [None, Some(64)] {
                bench.stack(position, block);
            }
        }
    }
    if bench.wanted("argmax") {
        bench.argmax(1);
        bench.argmax(32);
    }
    println!("{} wrong", bench.failures);
}

fn main() {
    #[cfg(feature = "cuda")]
    run();
    #[cfg(not(feature = "cuda"))]
    println!("build with --features cuda");
}
