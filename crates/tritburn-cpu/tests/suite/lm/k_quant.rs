//! Heads and tables in ggml's K types: the same bits on every instruction set, near f64.

use half::f16;
use tritburn_cpu::internals::*;
use tritburn_cpu::*;
use tritburn_formats::codec::gguf::k_quant::{KQuant, KQuantMatrix};

use crate::common::*;

/// Blocks of random bytes, all of which mean something, with factors of ordinary size.
fn random_matrix(rng: &mut Random, kind: KQuant, rows: usize, k: usize) -> KQuantMatrix {
    let mut bytes: Vec<u8> = (0..rows * kind.row_bytes(k))
        .map(|_| rng.next() as u8)
        .collect();
    for block in bytes.chunks_mut(kind.block_bytes()) {
        let places: &[usize] = if kind == KQuant::Q6K { &[208] } else { &[0, 2] };
        for &at in places {
            block[at..at + 2].copy_from_slice(&f16::from_f32(rng.float()).to_le_bytes());
        }
    }
    KQuantMatrix::new(kind, [rows, k], bytes).unwrap()
}

/// Activations that 16 bits hold exactly, the largest among them.
fn exact_activations(rng: &mut Random, tokens: usize, k: usize) -> Vec<f32> {
    let mut x: Vec<f32> = (0..tokens * k)
        .map(|_| (rng.next() % 65025) as f32 - 32512.0)
        .collect();
    x.chunks_mut(k).for_each(|x| x[0] = -32512.0);
    x
}

fn check(kind: KQuant, tokens: usize, rows: usize, k: usize) {
    let mut rng = Random((tokens + 100 * rows + 10_000 * k) as u64);
    let matrix = random_matrix(&mut rng, kind, rows, k);
    let weights = matrix.dequantize();
    let x = exact_activations(&mut rng, tokens, k);
    let mut first: Option<Vec<f32>> = None;
    for isa in Isa::available() {
        for y in on_threads(|| {
            let mut y = vec![f32::NAN; tokens * rows];
            let view = KQuantView::of(&matrix).unwrap();
            k_quant_head_with(isa, &x, view, &mut y).unwrap();
            y
        }) {
            let case = format!("{kind} on {isa}, [{tokens}, {k}] x [{rows}, {k}]");
            let first = first.get_or_insert_with(|| y.clone());
            assert_eq!(bits(&y), bits(first), "{case}");
            for (i, y) in y.into_iter().enumerate() {
                let x = &x[i / rows * k..][..k];
                let w = &weights[i % rows * k..][..k];
                let terms = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w));
                let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), term| {
                    (sum + term, size + term.abs())
                });
                assert!(
                    (f64::from(y) - sum).abs() <= 1e-6 * size,
                    "{case}: {y}, not {sum}"
                );
            }
        }
    }
}

#[test]
fn heads_of_k_types_agree_with_f64() {
    for kind in KQuant::ALL {
        for (tokens, rows, k) in [
            (0, 5, 256),
            (3, 0, 256),
            (1, 1, 1),
            (2, 7, 255),
            (1, 9, 257),
        ] {
            check(kind, tokens, rows, k);
        }
        for tokens in 1..=9 {
            check(kind, tokens, 5, 512);
        }
        // Enough for several tasks.
        check(kind, 1, 1031, 1536);
        check(kind, 5, 131, 2560);
    }
}

#[test]
fn the_most_extreme_blocks_do_not_overflow() {
    for kind in KQuant::ALL {
        // All bits set but those of the factors: the largest codes and, but for Q6_K, scales.
        let k = 512;
        let mut bytes = vec![0xff; kind.row_bytes(k)];
        for block in bytes.chunks_mut(kind.block_bytes()) {
            if kind == KQuant::Q6K {
                block[192..208].fill(0x80);
                block[208..].copy_from_slice(&f16::ONE.to_le_bytes());
            } else {
                block[..2].copy_from_slice(&f16::ONE.to_le_bytes());
                block[2..4].copy_from_slice(&f16::ZERO.to_le_bytes());
            }
        }
        let weight = match kind {
            KQuant::Q4K => 63.0 * 15.0,
            KQuant::Q5K => 63.0 * 31.0,
            KQuant::Q6K => -128.0 * 31.0,
        };
        let weights = KQuantView::new(kind, &bytes, 1, k).unwrap();
        // Upper bytes of 127 and -127, and the smallest lower byte.
        for x in [32512.0, -32512.0, 32384.0 - 256.0] {
            for isa in Isa::available() {
                let mut y = [f32::NAN];
                let mut tokens = vec![x; k];
                tokens[0] = 32512.0;
                k_quant_head_with(isa, &tokens, weights, &mut y).unwrap();
                let sum = 255.0 * x + 32512.0 + 256.0 * x;
                // The sums of both blocks are exact; f32 rounds them.
                let blocks = [weight * (255.0 * x + 32512.0), weight * 256.0 * x];
                assert_eq!(y[0], blocks[0] + blocks[1], "{kind} on {isa}, {sum}");
            }
        }
    }
}

#[test]
fn a_head_of_six_bits_is_close_to_the_dense_one() {
    let mut rng = Random(6);
    let (tokens, rows, k) = (2, 300, 2560);
    let x = rng.floats(tokens * k);
    let weights: Vec<f32> = rng.floats(rows * k).into_iter().map(|w| w * 0.05).collect();
    let mut dense = vec![0.0; tokens * rows];
    dense_head(&x, &weights, k, &mut dense).unwrap();
    let deviation = |y: &[f32]| {
        let pairs = y.iter().zip(&dense);
        let error: f64 = pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum();
        (error / dense.iter().map(|&b| f64::from(b).powi(2)).sum::<f64>()).sqrt()
    };
    for (kind, most) in [
        (KQuant::Q4K, 0.07),
        (KQuant::Q5K, 0.035),
        (KQuant::Q6K, 0.018),
    ] {
        let matrix = KQuantMatrix::quantize(kind, [rows, k], &weights).unwrap();
        let mut y = vec![0.0; tokens * rows];
        k_quant_head(&x, KQuantView::of(&matrix).unwrap(), &mut y).unwrap();
        assert!(
            (most / 3.0..most).contains(&deviation(&y)),
            "{kind}: {}",
            deviation(&y)
        );
        // What is left is the rounding of weights: with the stored ones nearly nothing.
        let mut stored = vec![0.0; tokens * rows];
        dense_head(&x, &matrix.dequantize(), k, &mut stored).unwrap();
        let pairs = y.iter().zip(&stored);
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-4, "{kind}: {worst}");
    }
}

#[test]
fn tokens_that_are_not_finite_show_it() {
    let mut rng = Random(7);
    let matrix = random_matrix(&mut rng, KQuant::Q6K, 4, 256);
    let mut x = rng.floats(3 * 256);
    x[300] = f32::NAN;
    x[700] = f32::INFINITY;
    for isa in Isa::available() {
        let mut y = vec![0.0; 3 * 4];
        k_quant_head_with(isa, &x, KQuantView::of(&matrix).unwrap(), &mut y).unwrap();
        assert!(y[..4].iter().all(|y| y.is_finite()) && y[4..].iter().all(|y| y.is_nan()));
    }
}

#[test]
fn rows_of_a_table_are_those_of_ggml() {
    let mut rng = Random(8);
    for kind in KQuant::ALL {
        for k in [256, 300, 2560] {
            let matrix = random_matrix(&mut rng, kind, 40, k);
            let (table, all) = (KQuantView::of(&matrix).unwrap(), matrix.dequantize());
            let ids = [7, 0, 39, 40, u32::MAX, 7];
            let mut rows = vec![0.0; ids.len() * k];
            k_quant_embedding(table, &ids, &mut rows).unwrap();
            for (&id, row) in ids.iter().zip(rows.chunks(k)) {
                match all.chunks(k).nth(id as usize) {
                    Some(expected) => assert_eq!(bits(row), bits(expected)),
                    None => assert!(row.iter().all(|x| x.is_nan())),
                }
            }
        }
    }
}

#[test]
fn operands_of_k_types_that_do_not_fit_are_refused() {
    let blocks = vec![0; 2 * 210];
    assert!(KQuantView::new(KQuant::Q6K, &blocks, 2, 256).is_ok());
    for (kind, rows, k) in [
        (KQuant::Q4K, 2, 256),
        (KQuant::Q6K, 3, 256),
        (KQuant::Q6K, 2, 257),
        (KQuant::Q6K, usize::MAX, 256),
    ] {
        assert!(KQuantView::new(kind, &blocks, rows, k).is_err());
    }
    assert!(matches!(
        KQuantView::new(KQuant::Q6K, &[], 0, 0),
        Err(CpuError::EmptyRow)
    ));
    let view = KQuantView::new(KQuant::Q6K, &blocks, 2, 256).unwrap();
    assert!(k_quant_head(&[0.0; 257], view, &mut [0.0; 2]).is_err());
    assert!(k_quant_head(&[0.0; 256], view, &mut [0.0; 3]).is_err());
    assert!(k_quant_embedding(view, &[0, 1], &mut [0.0; 256]).is_err());
}
