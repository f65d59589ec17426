//! How fast packed weights are read and written, on one core.
//!
//! `cargo run --release -p tritburn-formats --example codec_speed`

use std::hint::black_box;
use std::time::Instant;

use half::{bf16, f16};
use tritburn_formats::codec::bitmedvit::{self, Tile};
use tritburn_formats::codec::gguf::i2_s::{self, Variant};
use tritburn_formats::codec::gguf::{tq1_0, tq2_0};
use tritburn_formats::codec::int4matmul::{self, Bits};
use tritburn_formats::codec::{Rounding, bitnet_gpu, burn_q2s, hf_bitnet, warp_bitnet};
use tritburn_formats::{PackedLayout, PackedMatrix, ScaleGranularity, WeightCode};

const ROUNDS: usize = 15;
const SHAPE: [usize; 2] = [2560, 6912];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build_global()?;
    let [out, k] = SHAPE;
    let matrix = random_matrix()?;

    let hf = hf_bitnet::encode(&matrix)?;
    report("hf_bitnet decode", hf.data.len(), || {
        hf_bitnet::decode(&hf.data, out, k, hf.gamma)
    });
    report("hf_bitnet encode", hf.data.len(), || {
        hf_bitnet::encode(&matrix)
    });

    let gpu = bitnet_gpu::encode(&matrix, Rounding::Exact)?;
    let scales = [bf16::ONE, bf16::ZERO, bf16::ZERO, bf16::ZERO];
    report("bitnet_gpu decode", gpu.data.len(), || {
        bitnet_gpu::decode(&gpu.data, &[out], k, scales)
    });
    report("bitnet_gpu encode", gpu.data.len(), || {
        bitnet_gpu::encode(&matrix, Rounding::Exact)
    });
    for tile in [Tile::M8N32K16, Tile::M32N8K16] {
        let tiles = bitmedvit::encode(&matrix, tile)?;
        report(
            &format!("bitmedvit decode {tile:?}"),
            tiles.data.len(),
            || bitmedvit::decode(&tiles.data, out, k, tile, 1.0),
        );
        report(
            &format!("bitmedvit encode {tile:?}"),
            tiles.data.len(),
            || bitmedvit::encode(&matrix, tile),
        );
    }

    let tq1 = tq1_0::encode(&matrix, Rounding::Exact)?;
    report("tq1_0 decode", tq1.len(), || tq1_0::decode(&tq1, out, k));
    report("tq1_0 encode", tq1.len(), || {
        tq1_0::encode(&matrix, Rounding::Exact)
    });
    let tq2 = tq2_0::encode(&matrix, Rounding::Exact)?;
    report("tq2_0 decode", tq2.len(), || tq2_0::decode(&tq2, out, k));
    report("tq2_0 encode", tq2.len(), || {
        tq2_0::encode(&matrix, Rounding::Exact)
    });
    for variant in [
        Variant::Block128,
        Variant::Neon64,
        Variant::FourRows,
        Variant::Sequential,
    ] {
        let i2s = i2_s::encode_variant(&matrix, variant)?;
        report(&format!("i2_s decode {variant:?}"), i2s.len(), || {
            i2_s::decode_variant(&i2s, out, k, variant)
        });
        report(&format!("i2_s encode {variant:?}"), i2s.len(), || {
            i2_s::encode_variant(&matrix, variant)
        });
    }

    let q2s = burn_q2s::encode(&matrix)?;
    report("burn_q2s decode", q2s.len(), || {
        burn_q2s::decode(&q2s, out, k, None)
    });
    report("burn_q2s encode", q2s.len(), || burn_q2s::encode(&matrix));
    let warp = warp_bitnet::encode(&matrix)?;
    report("warp_bitnet decode", 4 * warp.data.len(), || {
        warp_bitnet::decode(&warp.data, out, k, 1.0)
    });
    report("warp_bitnet encode", 4 * warp.data.len(), || {
        warp_bitnet::encode(&matrix)
    });

    for (bits, words) in [(Bits::Two, 2), (Bits::Three, 3), (Bits::Four, 4)] {
        let words: Vec<u32> = random_words().take(k / 32 * words * out).collect();
        let ones = vec![f16::ONE; out];
        let decode = || int4matmul::decode(&words, SHAPE, bits, None, ones.clone(), ones.clone());
        report(
            &format!("int4matmul decode {bits:?}"),
            4 * words.len(),
            decode,
        );
        let ints = decode()?;
        report(
            &format!("int4matmul encode {bits:?}"),
            4 * words.len(),
            || int4matmul::encode(&ints),
        );
    }
    Ok(())
}

/// Prints the rate of stored bytes at the median time of a few calls, and at the best.
fn report<T>(what: &str, bytes: usize, mut call: impl FnMut() -> T) {
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            black_box(call());
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let rate = |seconds: f64| bytes as f64 / seconds / 1e6;
    println!(
        "{:7.0} MB/s (best {:.0})  {what}",
        rate(times[ROUNDS / 2]),
        rate(times[0])
    );
}

fn random_words() -> impl Iterator<Item = u32> {
    let mut state = 1u64;
    std::iter::repeat_with(move || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 32) as u32
    })
}

/// Random codes 0 and 1 or 1 and 2 in turn: all that the speed could depend on.
fn random_matrix() -> Result<PackedMatrix, Box<dyn std::error::Error>> {
    let [out, k] = SHAPE;
    let layout = PackedLayout::new(out, k, WeightCode::Ternary, ScaleGranularity::Tensor)?;
    let words = random_words().zip([0, 0x5555_5555].into_iter().cycle());
    let words = words.map(|(word, add)| (word & 0x5555_5555) + add);
    let words = words.take(layout.word_count()).collect();
    Ok(PackedMatrix::new(layout, words, vec![1.0])?)
}
