//! Checks every instruction set of this machine against the reference, then measures it.
//!
//! ```text
//! cargo run --release -p tritburn-cpu --example gops [-- --threads 2] [--isa avx512-vnni]
//! ```
//!
//! Products of one token are given in GB/s of packed weights, activation quantisation included:
//! cold walks through 800 MB of distinct matrices, hot repeats one. Products of many tokens are
//! given in GOPS, `2·M·N·K / time`. A measurement is several passes; the table shows the median
//! call of the best pass, and the spread of that median over the passes.

use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;
use tritburn_cpu::internals::{matmul_w2a8_with, matmul_w2a16_with};
use tritburn_cpu::{Isa, QuantizedView, WeightView, quantize_activations};
use tritburn_formats::layout::activation_words_per_row;
use tritburn_formats::{PackedLayout, PackedMatrix, ScaleGranularity, WeightCode, reference};

/// Bytes of packed weights in rotation when cold.
const COLD_BYTES: usize = 800 << 20;
const PASSES: usize = 5;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let option = |name: &str| {
        args.iter()
            .position(|a| a == name)
            .and_then(|at| args.get(at + 1))
    };
    let threads = option("--threads").map_or(2, |v| v.parse().expect("--threads takes a number"));
    let sets = match option("--isa") {
        Some(name) => vec![name.parse().expect("--isa takes an instruction set")],
        None => Isa::available(),
    };
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .expect("the pool is made once");

    for &isa in &sets {
        check(isa);
        println!("{isa}: equal to the reference");
    }
    let mut buffer = Buffer::new(COLD_BYTES / 4);
    for huge in [false, true] {
        buffer.pages(huge);
        let pages = if huge { "huge" } else { "small" };
        println!("\n{threads} threads, {pages} pages");
        println!(
            "{:44} {}",
            "memory read, GB/s",
            read_bandwidth(&buffer.words)
        );
        for &isa in &sets {
            for (n, k) in [(2560, 6912), (4096, 4096)] {
                for (name, scale) in [
                    ("tensor", ScaleGranularity::Tensor),
                    ("group 128", ScaleGranularity::Group { size: 128 }),
                ] {
                    let layout =
                        PackedLayout::new(n, k, WeightCode::Ternary, scale).expect("a valid shape");
                    for (heat, copies) in [("cold", usize::MAX), ("hot", 1)] {
                        let speed = gemv_w2a8(isa, &layout, &buffer.words, copies);
                        let label = format!("{isa} w2a8 {n}x{k} {name} {heat}, GB/s");
                        println!("{label:44} {speed}");
                    }
                }
                let layout = PackedLayout::new(n, k, WeightCode::Ternary, ScaleGranularity::Tensor)
                    .expect("a valid shape");
                let speed = gemv_w2a16(isa, &layout, &buffer.words);
                println!("{:44} {speed}", format!("{isa} w2a16 {n}x{k} cold, GB/s"));
            }
        }
    }
    println!();
    for &isa in &sets {
        for m in [8, 16, 32, 128, 512] {
            for (name, scale) in [
                ("tensor", ScaleGranularity::Tensor),
                ("group 128", ScaleGranularity::Group { size: 128 }),
            ] {
                let layout = PackedLayout::new(4096, 4096, WeightCode::Ternary, scale)
                    .expect("a valid shape");
                let speed = gemm_w2a8(isa, &layout, &buffer.words, m);
                let label = format!("{isa} w2a8 {m}x4096x4096 {name}, GOPS");
                println!("{label:44} {speed}");
            }
        }
    }
}

/// Words in which every byte holds valid ternary codes, in pages that can be made huge.
struct Buffer {
    words: Vec<u32>,
}

impl Buffer {
    fn new(len: usize) -> Self {
        let mut words = vec![0u32; len];
        let mut state = 1u32;
        for word in &mut words {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Clears the upper bit of a code whose lower bit is set: no code 3.
            *word = state & !((state & 0x5555_5555) << 1);
        }
        Self { words }
    }

    /// Moves the words into new memory with huge pages or without.
    fn pages(&mut self, huge: bool) {
        let mut words = Vec::with_capacity(self.words.len());
        advise(&mut words, huge);
        words.extend_from_slice(&self.words);
        self.words = words;
    }
}

#[cfg(target_os = "linux")]
fn advise(words: &mut Vec<u32>, huge: bool) {
    use std::ffi::{c_int, c_void};
    unsafe extern "C" {
        fn madvise(address: *mut c_void, len: usize, advice: c_int) -> c_int;
    }
    const HUGE: c_int = 14;
    const SMALL: c_int = 15;
    let start = words.as_mut_ptr().addr().next_multiple_of(4096);
    let end = words.as_mut_ptr().addr() + 4 * words.capacity();
    // SAFETY: advice on pages inside the vector's own, still empty memory.
    unsafe {
        madvise(
            start as *mut c_void,
            end - start,
            if huge { HUGE } else { SMALL },
        );
    }
}

#[cfg(not(target_os = "linux"))]
fn advise(_: &mut Vec<u32>, _: bool) {}

/// The best pass and how far the others were.
struct Speed {
    best: f64,
    worst: f64,
}

impl std::fmt::Display for Speed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:8.1}   (passes from {:.1})", self.best, self.worst)
    }
}

/// Times passes of `calls` calls each; `work` units a call over nanoseconds is the speed.
fn measure(calls: usize, work: f64, mut call: impl FnMut(usize)) -> Speed {
    let mut speeds: Vec<f64> = (0..PASSES)
        .map(|_| {
            let mut times: Vec<f64> = (0..calls)
                .map(|i| {
                    let start = Instant::now();
                    call(i);
                    start.elapsed().as_nanos() as f64
                })
                .collect();
            times.sort_by(f64::total_cmp);
            work / times[calls / 2]
        })
        .collect();
    speeds.sort_by(f64::total_cmp);
    Speed {
        best: speeds[PASSES - 1],
        worst: speeds[0],
    }
}

/// All threads read the next 4 MiB, a contiguous part each, as a product of one token does.
fn read_bandwidth(words: &[u32]) -> Speed {
    const CALL: usize = 1 << 20;
    let part = CALL.div_ceil(rayon::current_num_threads());
    let calls = words.len() / CALL;
    measure(calls, 4.0 * CALL as f64, |i| {
        let sum = words[i * CALL..(i + 1) * CALL]
            .par_chunks(part)
            .map(|part| {
                let mut lanes = [0u32; 64];
                for chunk in part.as_chunks::<64>().0 {
                    for (lane, word) in lanes.iter_mut().zip(chunk) {
                        *lane ^= word;
                    }
                }
                lanes.iter().fold(0, |a, b| a ^ b)
            })
            .reduce(|| 0, |a, b| a ^ b);
        black_box(sum);
    })
}

fn activations(len: usize) -> Vec<f32> {
    (0..len)
        .map(|i| ((i * 7919 % 1013) as f32 - 506.0) / 300.0)
        .collect()
}

/// Matrices of a layout cut from the words, at most `copies`.
fn cut<'a>(layout: &PackedLayout, words: &'a [u32], copies: usize) -> Vec<&'a [u32]> {
    words
        .chunks_exact(layout.word_count())
        .take(copies)
        .collect()
}

fn calls(copies: usize) -> usize {
    if copies == 1 { 200 } else { copies }
}

fn gemv_w2a8(isa: Isa, layout: &PackedLayout, words: &[u32], copies: usize) -> Speed {
    let (n, k) = (layout.out_features(), layout.in_features());
    let matrices = cut(layout, words, copies);
    let weight_scales = vec![1.0; layout.scale_count()];
    let x = activations(k);
    let mut codes = vec![0; activation_words_per_row(k)];
    let mut scales = [0.0];
    let mut y = vec![0.0; n];
    measure(
        calls(matrices.len()),
        4.0 * layout.word_count() as f64,
        |i| {
            quantize_activations(&x, k, &mut codes, &mut scales).expect("operands fit");
            let x = QuantizedView::new(&codes, &scales, k).expect("operands fit");
            let w = WeightView::new(layout, matrices[i % matrices.len()], &weight_scales)
                .expect("operands fit");
            matmul_w2a8_with(isa, x, w, None, &mut y).expect("operands fit");
        },
    )
}

fn gemv_w2a16(isa: Isa, layout: &PackedLayout, words: &[u32]) -> Speed {
    let matrices = cut(layout, words, usize::MAX);
    let x = activations(layout.in_features());
    let mut y = vec![0.0; layout.out_features()];
    measure(matrices.len(), 4.0 * layout.word_count() as f64, |i| {
        let w = WeightView::new(layout, matrices[i], &[1.0]).expect("operands fit");
        matmul_w2a16_with(isa, &x, w, None, &mut y).expect("operands fit");
    })
}

fn gemm_w2a8(isa: Isa, layout: &PackedLayout, words: &[u32], m: usize) -> Speed {
    let (n, k) = (layout.out_features(), layout.in_features());
    let weight_scales = vec![1.0; layout.scale_count()];
    let x = activations(m * k);
    let mut codes = vec![0; m * activation_words_per_row(k)];
    let mut scales = vec![0.0; m];
    let mut y = vec![0.0; m * n];
    measure(5, 2.0 * (m * n * k) as f64, |_| {
        quantize_activations(&x, k, &mut codes, &mut scales).expect("operands fit");
        let x = QuantizedView::new(&codes, &scales, k).expect("operands fit");
        let w = WeightView::new(layout, &words[..layout.word_count()], &weight_scales)
            .expect("operands fit");
        matmul_w2a8_with(isa, x, w, None, &mut y).expect("operands fit");
    })
}

/// Compares a set with the reference on shapes that use every loop.
fn check(isa: Isa) {
    for (m, n, k) in [
        (1, 9, 300),
        (3, 40, 257),
        (17, 33, 1000),
        (50, 70, 2500),
        (128, 96, 4096),
    ] {
        for code in [WeightCode::Ternary, WeightCode::Int2] {
            let layout = PackedLayout::new(n, k, code, ScaleGranularity::Row).expect("valid");
            let words = Buffer::new(layout.word_count()).words;
            let scales = activations(n);
            let matrix = PackedMatrix::new(layout, words, scales).expect("valid");
            let x: Vec<i8> = (0..m * k.next_multiple_of(16))
                .map(|i| (i * 31 % 257) as u8 as i8)
                .collect();
            let codes: Vec<u32> = x
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| u32::from_le_bytes(b.map(|b| b as u8)))
                .collect();
            let x_scales = activations(m);
            let acc = reference::matmul_i32(&x, &matrix);
            let expected = reference::rescale(&acc, &x_scales, &matrix, None);
            let view = QuantizedView::new(&codes, &x_scales, k).expect("operands fit");
            let mut y = vec![0.0; m * n];
            matmul_w2a8_with(isa, view, WeightView::of(&matrix), None, &mut y)
                .expect("the set is available");
            assert!(
                y == expected,
                "{isa} is wrong for [{m}, {k}] x [{n}, {k}] {code:?}"
            );
        }
    }
}
