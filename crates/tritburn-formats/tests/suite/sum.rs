//! The summation tree, against a literal transcription of its definition.

use tritburn_formats::sum::{BLOCK, LANES, abs_mean, abs_sum};

use crate::common::noise;

fn tree(x: &[f32]) -> f32 {
    let partials: Vec<f32> = x
        .chunks(1024)
        .map(|block| {
            let mut lane = [0.0f32; 32];
            for (l, lane) in lane.iter_mut().enumerate() {
                let mut i = l;
                while i < 1024 {
                    *lane += if i < block.len() { block[i].abs() } else { 0.0 };
                    i += 32;
                }
            }
            for step in [16, 8, 4, 2, 1] {
                for i in 0..step {
                    lane[i] += lane[i + step];
                }
            }
            lane[0]
        })
        .collect();
    match partials.len() {
        0 => 0.0,
        1 => partials[0],
        _ => tree(&partials),
    }
}

#[test]
fn the_tree_is_followed_to_the_bit_at_every_length() {
    assert_eq!((BLOCK, LANES), (1024, 32));
    let x = noise(3 * 1024 * 1024 + 5, 1);
    let lengths = (0..70)
        .chain([
            1000, 1023, 1024, 1025, 1056, 2048, 2049, 130_000, 131_072, 131_073,
        ])
        .chain([1 << 20, (1 << 20) + 1, x.len()]);
    for len in lengths {
        let (got, expected) = (abs_sum(&x[..len]), tree(&x[..len]));
        assert_eq!(got.to_bits(), expected.to_bits(), "{len}: {got} {expected}");
    }
}

#[test]
fn the_order_differs_from_a_running_sum() {
    let x = noise(10_000, 2);
    let running = x.iter().fold(0.0f32, |sum, v| sum + v.abs());
    let exact: f64 = x.iter().map(|v| v.abs() as f64).sum();
    assert_ne!(abs_sum(&x), running);
    assert!((abs_sum(&x) as f64 - exact).abs() / exact < 1e-6);
}

#[test]
fn a_thread_pool_of_any_size_gives_the_same_bits() {
    let x = noise(1 << 20, 3);
    let sums = [1, 2, 3, 7].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.expect("a pool").install(|| abs_sum(&x)).to_bits()
    });
    assert_eq!(sums, [tree(&x).to_bits(); 4]);
}

#[test]
fn the_mean_divides_by_the_length() {
    assert_eq!(abs_mean(&[-1.0, 2.0, -3.0, 0.5]), 1.625);
    assert!(abs_mean(&[]).is_nan());
    assert_eq!(abs_sum(&[]).to_bits(), 0.0f32.to_bits());
    assert_eq!(abs_sum(&[-0.0; 5]).to_bits(), 0.0f32.to_bits());
}

#[test]
fn nan_and_infinity_reach_the_result_from_anywhere() {
    for len in [1, 40, 1024, 5000, 200_000] {
        for at in [0, len / 2, len - 1] {
            let mut x = noise(len, 4);
            x[at] = f32::NAN;
            assert!(abs_sum(&x).is_nan(), "{at} of {len}");
            x[at] = f32::NEG_INFINITY;
            assert_eq!(abs_sum(&x), f32::INFINITY, "{at} of {len}");
        }
    }
}
