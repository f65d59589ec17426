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

mod common;

use common::{Buffer, COLD_BYTES, Speed, activations, measure, option, read_bandwidth};
use tritburn_cpu::internals::{matmul_w2a8_with, matmul_w2a16_with};
use tritburn_cpu::{Isa, QuantizedView, WeightView, quantize_activations};
use tritburn_formats::layout::activation_words_per_row;
use tritburn_formats::{PackedLayout, PackedMatrix, ScaleGranularity, WeightCode, reference};

fn main() {
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
