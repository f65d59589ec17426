//! Measures products of one token with weights of 2, 3 and 4 bits in groups.
//!
//! ```text
//! cargo run --release -p tritburn-cpu --example affine [-- --threads 2] [--isa avx512-vnni] [--quantile 0.5]
//! ```
//!
//! GB/s are of codes, masks, scales and zero points together: cold walks through 800 MB of distinct
//! matrices, hot repeats one; x is f32. Prompts of 128 tokens are given in GFLOPS, `2·M·N·K / time`. A
//! measurement is several passes; the table shows the median call of the best pass, and the spread of
//! that median over the passes.

mod common;

use common::{Buffer, COLD_BYTES, Speed, activations, measure, option, read_bandwidth};
use half::f16;
use tritburn_cpu::internals::matmul_affine_with;
use tritburn_cpu::{AffineOperands, AffineView, FloatsView, Isa};
use tritburn_formats::affine::{AffineLayout, Bits};

const SHAPE: [usize; 2] = [4096, 4096];

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
    let mut buffer = Buffer::new(COLD_BYTES / 4);
    buffer.pages(true);
    println!("{threads} threads, huge pages, {SHAPE:?}");
    println!(
        "{:44} {}",
        "memory read, GB/s",
        read_bandwidth(&buffer.words)
    );
    for &isa in &sets {
        for (name, layout) in layouts() {
            for (heat, copies) in [("cold", usize::MAX), ("hot", 1)] {
                let speed = gemv(isa, &layout, &buffer.words, copies);
                println!("{:44} {speed}", format!("{isa} {name} {heat}, GB/s"));
            }
            let speed = prompt(isa, &layout, &buffer.words);
            println!("{:44} {speed}", format!("{isa} {name} M=128, GFLOPS"));
        }
    }
}

fn layouts() -> Vec<(&'static str, AffineLayout)> {
    let of = |bits, group| AffineLayout::new(SHAPE, bits, Some(group)).expect("a valid shape");
    vec![
        ("int4 group 32", of(Bits::Four, 32)),
        ("int4 group 32 zeros", of(Bits::Four, 32).with_zeros()),
        ("int4 group 128 zeros", of(Bits::Four, 128).with_zeros()),
        ("int3 group 128 zeros", of(Bits::Three, 128).with_zeros()),
        ("int2 group 64 zeros", of(Bits::Two, 64).with_zeros()),
        (
            "int4 16:32 group 128",
            of(Bits::Four, 128).sparse().expect("whole units"),
        ),
    ]
}

/// The parts of a matrix, in memory of their own.
struct Matrix<'a> {
    words: &'a [u32],
    mask: Vec<u32>,
    scales: Vec<f16>,
    zeros: Vec<f16>,
}

/// Matrices whose codes are cut from the words, at most `copies`.
fn cut<'a>(layout: &AffineLayout, words: &'a [u32], copies: usize) -> Vec<Matrix<'a>> {
    let zeros = usize::from(layout.has_zeros()) * layout.group_count();
    let matrix = |words: &'a [u32]| Matrix {
        words,
        // Any 16 bits and their complement are 16 of 32.
        mask: words[..layout.mask_count()]
            .iter()
            .map(|m| (m & 0xffff) | (!m << 16))
            .collect(),
        scales: vec![f16::from_f32(0.01); layout.group_count()],
        zeros: vec![f16::from_f32(7.0); zeros],
    };
    words
        .chunks_exact(layout.word_count())
        .take(copies)
        .map(matrix)
        .collect()
}

fn view<'a>(layout: &'a AffineLayout, matrix: &'a Matrix<'a>) -> AffineView<'a> {
    let operands = AffineOperands {
        words: matrix.words,
        mask: &matrix.mask,
        scales: FloatsView::F16(&matrix.scales),
        zeros: layout.has_zeros().then_some(FloatsView::F16(&matrix.zeros)),
        order: None,
    };
    AffineView::new(layout, operands).expect("operands fit")
}

fn gemv(isa: Isa, layout: &AffineLayout, words: &[u32], copies: usize) -> Speed {
    let matrices = cut(layout, words, copies);
    let calls = if copies == 1 { 200 } else { matrices.len() };
    let x = activations(SHAPE[1]);
    let mut y = vec![0.0; SHAPE[0]];
    measure(calls, layout.byte_count() as f64, |i| {
        let w = view(layout, &matrices[i % matrices.len()]);
        matmul_affine_with(isa, &x, w, None, &mut y).expect("operands fit");
    })
}

fn prompt(isa: Isa, layout: &AffineLayout, words: &[u32]) -> Speed {
    let matrices = cut(layout, words, 1);
    let x = activations(128 * SHAPE[1]);
    let mut y = vec![0.0; 128 * SHAPE[0]];
    measure(3, 2.0 * (128 * SHAPE[0] * SHAPE[1]) as f64, |_| {
        let w = view(layout, &matrices[0]);
        matmul_affine_with(isa, &x, w, None, &mut y).expect("operands fit");
    })
}
