//! The two ends of a language model: embeddings, the head, the choice of a token.

use tritburn_formats::quantize::QuantizedActivations;
use tritburn_kernels::decoder::argmax::{self, ArgmaxScratch, Draws};
use tritburn_kernels::decoder::dense;
use tritburn_kernels::decoder::{embedding, step};
use tritburn_kernels::{FloatType, KernelError};

use crate::device::{client, runs};
use crate::harness::*;
use crate::reference;

/// Tokens, outputs, inputs, spare columns.
const SHAPES: [(usize, usize, usize, usize); 8] = [
    (1, 1, 1, 0),
    (1, 67, 640, 0),
    (3, 9, 37, 1),
    (17, 5, 48, 0),
    // Whole steps of 32 inputs, for tensor cores: with and without a second block of rows.
    (2, 3, 32, 0),
    (5, 530, 96, 8),
    (33, 40, 160, 0),
    (16, 515, 640, 0),
];

fn assert_product(found: &[f32], x: &[f32], w: &[f32], k: usize, what: &str) {
    let (expected, sizes) = reference::product(x, w, k);
    let bounds: Vec<f64> = sizes.iter().map(|size| 1e-5 * size + 1e-30).collect();
    assert_within(found, &expected, &bounds, what);
}

#[test]
fn float_heads_equal_the_reference() {
    let client = client();
    let types = [
        (FloatType::F32, FloatType::F32),
        (FloatType::BF16, FloatType::BF16),
        (FloatType::F32, FloatType::F16),
    ];
    for (i, (m, n, k, spare)) in SHAPES.into_iter().enumerate() {
        for (x_type, w_type) in types {
            if !runs(x_type) || !runs(w_type) {
                continue;
            }
            let mut rng = rng(i);
            let x = floats(&mut rng, m * k, x_type);
            let w = floats(&mut rng, n * k, w_type);
            let weights = float_matrix(&client, &w, [n, k], k + spare, w_type);
            let input = float_matrix(&client, &x, [m, k], k + spare, x_type);
            let y = Out::new(&client, [m, n], n + spare, FloatType::F32);
            dense::launch(&client, &input, &weights, &y.matrix).unwrap();
            let what = format!("{m}x{n}x{k} {x_type} {w_type}");
            assert_product(&y.read(&client), &x, &w, k, &what);
        }
    }
}

#[test]
fn int8_heads_are_exact() {
    let client = client();
    // The last are wide enough for `wgmma`: tokens and rows around its tiles, a row that ends inside of a step.
    let more = [(65, 300, 128, 0), (257, 33, 80, 3), (70, 513, 144, 1)];
    for (i, (m, n, k, spare)) in SHAPES.into_iter().chain(more).enumerate() {
        let mut rng = rng(i);
        let x = floats(&mut rng, m * k, FloatType::F32);
        let w = floats(&mut rng, n * k, FloatType::F32);
        let [x, w] = [x, w].map(|values| QuantizedActivations::quantize(&values, k).unwrap());
        let (tokens, rows) = (activations(&client, &x), activations(&client, &w));
        let y = Out::new(&client, [m, n], n + spare, FloatType::F32);
        dense::launch_int8(&client, &tokens, &rows, &y.matrix).unwrap();
        let expected: Vec<f32> = (0..m * n)
            .map(|at| {
                let (t, v) = (at / n, at % n);
                let pitch = k.next_multiple_of(16);
                let (x_row, w_row) = (&x.bytes()[t * pitch..], &w.bytes()[v * pitch..]);
                let products = x_row[..k].iter().zip(&w_row[..k]);
                let sum: i32 = products.map(|(&a, &b)| i32::from(a) * i32::from(b)).sum();
                sum as f32 * (w.scales()[v] * x.scales()[t])
            })
            .collect();
        assert_bits(&y.read(&client), &expected, &format!("{m}x{n}x{k} int8"));
    }
}

#[test]
fn int8_heads_that_do_not_fit_are_refused() {
    let client = client();
    let rows = |rows: usize, cols: usize| {
        let codes = QuantizedActivations::quantize(&vec![1.0; rows * cols], cols).unwrap();
        activations(&client, &codes)
    };
    let y = Out::new(&client, [2, 3], 3, FloatType::F32);
    let launch = |x: [usize; 2], w: [usize; 2]| {
        let (x, w) = (rows(x[0], x[1]), rows(w[0], w[1]));
        dense::launch_int8(&client, &x, &w, &y.matrix).err()
    };
    let error = launch([2, 32], [3, 48]);
    assert!(
        matches!(error, Some(KernelError::Shape { .. })),
        "{error:?}"
    );
    let error = launch([2, 1 << 17], [3, 1 << 17]);
    assert!(
        matches!(error, Some(KernelError::InFeatures { max: 131_071, .. })),
        "{error:?}"
    );
}

#[test]
fn embeddings_are_rows_and_unknown_ids_are_nan() {
    let client = client();
    for (k, table_type, out_type) in [
        (48, FloatType::F32, FloatType::F32),
        (5, FloatType::F32, FloatType::BF16),
        (64, FloatType::BF16, FloatType::F32),
        (640, FloatType::F16, FloatType::F16),
    ] {
        if !runs(table_type) || !runs(out_type) {
            continue;
        }
        let (v, ids) = (11usize, [10u32, 0, 3, 11, u32::MAX]);
        let table = floats(&mut rng(k), v * k, table_type);
        let device_table = float_matrix(&client, &table, [v, k], k, table_type);
        let out = Out::new(&client, [ids.len(), k], k + 16, out_type);
        embedding::launch(&client, &device_table, &words(&client, &ids), &out.matrix).unwrap();
        let expected: Vec<f32> = ids
            .iter()
            .flat_map(|&id| {
                let row = table.chunks(k).nth(id as usize);
                row.map_or(vec![f32::NAN; k], |row| {
                    row.iter().map(|&x| round_to(x, out_type)).collect()
                })
            })
            .collect();
        assert_bits(&out.read(&client), &expected, &format!("{k} {table_type}"));
    }
}

#[test]
fn argmax_takes_the_lowest_of_equals_and_flags_nan() {
    let client = client();
    let scratch = ArgmaxScratch::new(&client, 6);
    for (cols, spare) in [(1, 0), (37, 3), (4096, 0), (40_000, 0)] {
        let mut x = floats(&mut rng(cols), 6 * cols, FloatType::F32);
        let (first, last) = (cols / 3, cols - 1);
        x[cols + first] = 9.0;
        x[cols + last] = 9.0;
        x[2 * cols + last] = f32::INFINITY;
        x[3 * cols..4 * cols].fill(f32::NEG_INFINITY);
        x[4 * cols..5 * cols].fill(-0.0);
        x[4 * cols + last] = 0.0;
        x[5 * cols + first] = -f32::NAN;
        let input = float_matrix(&client, &x, [6, cols], cols + spare, FloatType::F32);
        let (ids, handle) = empty(&client, 6);
        for _ in 0..2 {
            argmax::launch(&client, &input, &ids, &scratch).unwrap();
        }
        let expected: Vec<u32> = x.chunks(cols).map(reference::argmax).collect();
        assert_eq!(read_u32(&client, &handle), expected, "{cols}");
        assert_eq!(expected[1], first as u32);
        assert_eq!(expected[5], cols as u32);
    }
    let input = float_matrix(&client, &[0.0; 7], [7, 1], 1, FloatType::F32);
    let (ids, _) = empty(&client, 7);
    assert!(argmax::launch(&client, &input, &ids, &scratch).is_err());
}

/// Gumbel noise as the kernel's documentation has it, in f64.
fn gumbel([low, high]: [u32; 2], position: u32, column: u32) -> f64 {
    let mixed = |x: u32| {
        let a = (x ^ (x >> 16)).wrapping_mul(0x7FEB_352D);
        let b = (a ^ (a >> 15)).wrapping_mul(0x846C_A68B);
        b ^ (b >> 16)
    };
    let key = mixed(position ^ mixed(low ^ mixed(high)));
    let word = mixed(mixed(column ^ key).wrapping_add(key));
    let uniform = (f64::from(word >> 9) + 0.5) / f64::from(1 << 23);
    -(-uniform.ln()).ln()
}

/// The best column but for rounding, or the largest value where the temperature is 0.
#[test]
fn draws_follow_from_seed_and_position() {
    let client = client();
    let scratch = ArgmaxScratch::new(&client, 5);
    for cols in [1, 37, 4096, 40_000] {
        let x = floats(&mut rng(cols), 5 * cols, FloatType::F32);
        let temperatures = [0.0f32, 1.0, 0.25, 1.0, 30.0];
        let seeds = [[1, 2], [3, 4], [5, 6], [3, 4], [u32::MAX, 0]];
        let positions = [7, 8, 9, 10, u32::MAX];
        let rows = temperatures.iter().zip(seeds);
        let draws: Vec<u32> = rows
            .flat_map(|(t, [low, high])| [t.to_bits(), low, high])
            .collect();
        let input = float_matrix(&client, &x, [5, cols], cols + 3, FloatType::F32);
        let (ids, handle) = empty(&client, 5);
        let draws = Draws {
            draws: &words(&client, &draws),
            positions: &words(&client, &positions),
        };
        argmax::launch_draw(&client, &input, draws, &ids, &scratch).unwrap();
        let found = read_u32(&client, &handle);
        assert_eq!(found[0], reference::argmax(&x[..cols]), "{cols}");
        for row in 1..5 {
            let values = &x[row * cols..(row + 1) * cols];
            let value = |column: usize| {
                let noise = gumbel(seeds[row], positions[row], column as u32);
                f64::from(values[column]) + f64::from(temperatures[row]) * noise
            };
            let best = (0..cols).map(value).fold(f64::NEG_INFINITY, f64::max);
            let chosen = value(found[row] as usize);
            let bound = 1e-4 * f64::from(temperatures[row].max(1.0));
            assert!(
                best - chosen < bound,
                "{cols}, row {row}: {chosen} of {best}"
            );
        }
    }
}

/// How often each of a few columns is drawn, against its probability.
#[test]
fn draws_have_the_distribution_of_the_softmax() {
    let client = client();
    let (tokens, logits, temperature) = (20_000, [0.0f32, 1.0, 2.0, -1.0, 3.0], 1.5f32);
    let scratch = ArgmaxScratch::new(&client, tokens);
    let x: Vec<f32> = (0..tokens).flat_map(|_| logits).collect();
    let draws: Vec<u32> = (0..tokens)
        .flat_map(|_| [temperature.to_bits(), 11, 12])
        .collect();
    let positions: Vec<u32> = (0..tokens as u32).collect();
    let input = float_matrix(&client, &x, [tokens, 5], 5, FloatType::F32);
    let (ids, handle) = empty(&client, tokens);
    let draws = Draws {
        draws: &words(&client, &draws),
        positions: &words(&client, &positions),
    };
    argmax::launch_draw(&client, &input, draws, &ids, &scratch).unwrap();
    let mut counts = [0usize; 5];
    read_u32(&client, &handle)
        .iter()
        .for_each(|&id| counts[id as usize] += 1);
    let weights = logits.map(|logit| f64::from(logit / temperature).exp());
    for (count, weight) in counts.into_iter().zip(weights) {
        let expected = weight / weights.iter().sum::<f64>() * tokens as f64;
        // Five standard deviations.
        let bound = 5.0 * expected.sqrt();
        assert!(
            (count as f64 - expected).abs() < bound,
            "{counts:?}: {count}, {expected}"
        );
    }
}

#[test]
fn a_step_moves_tokens_and_positions_on() {
    let client = client();
    let buffer = |data: &[u32]| {
        let buffer = empty(&client, data.len());
        step::copy_u32(&client, &words(&client, data), &buffer.0).unwrap();
        buffer
    };
    let (tokens, positions) = (buffer(&[0; 3]), buffer(&[5, 6, 7]));
    for round in 0..3 {
        let ids = words(&client, &[10 + round, 20 + round, 30 + round]);
        step::advance(&client, &ids, &tokens.0, &positions.0).unwrap();
    }
    assert_eq!(read_u32(&client, &tokens.1), [12, 22, 32]);
    assert_eq!(read_u32(&client, &positions.1), [8, 9, 10]);
    assert!(step::copy_u32(&client, &tokens.0, &buffer(&[0]).0).is_err());
}
