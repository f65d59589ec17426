//! How long quantising and packing takes: the part of a training step that this crate does.
//!
//! `cargo run --release -p tritburn-formats --example quantize_speed`

use std::hint::black_box;
use std::time::Instant;

use tritburn_formats::quantize::{
    QuantizedActivations, quantize_weights, recognize_ternary, weight_scales,
};
use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};

const ROUNDS: usize = 15;
const SIZE: usize = 4096;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let weights = noise(SIZE * SIZE);
    for code in [WeightCode::Ternary, WeightCode::Int2] {
        for scale in [
            ScaleGranularity::Tensor,
            ScaleGranularity::Row,
            ScaleGranularity::Group { size: 128 },
        ] {
            let layout = PackedLayout::new(SIZE, SIZE, code, scale)?;
            let label = format!("{code:?}, {:?}", layout.scale());
            report(&format!("weight scales, {label}"), || {
                let _ = black_box(weight_scales(&weights, &layout));
            });
            report(&format!("scales, codes and packing, {label}"), || {
                let _ = black_box(quantize_weights(&weights, &layout));
            });
        }
    }
    let ternary: Vec<f32> = weights
        .iter()
        .map(|w| (2.0 * w).round().clamp(-1.0, 1.0))
        .collect();
    report("recognising ternary floats", || {
        let _ = black_box(recognize_ternary(&ternary, SIZE, SIZE));
    });
    report("recognising that floats are not", || {
        let _ = black_box(recognize_ternary(&weights, SIZE, SIZE));
    });
    let x = noise(512 * SIZE);
    report("512 tokens to int8", || {
        let _ = black_box(QuantizedActivations::quantize(&x, SIZE));
    });
    Ok(())
}

/// Prints the median time of a few calls.
fn report(what: &str, mut call: impl FnMut()) {
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            call();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!(
        "{:8.2} ms (best {:.2})  {what}",
        times[ROUNDS / 2],
        times[0]
    );
}

/// Sum of four uniform numbers: close enough to a Gaussian.
fn noise(len: usize) -> Vec<f32> {
    let mut state = 1u64;
    let mut uniform = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..len).map(|_| (0..4).map(|_| uniform()).sum()).collect()
}
