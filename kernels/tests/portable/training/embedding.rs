//! The gradient of a table of embeddings.

use rand::RngExt;
use tritburn_kernels::FloatType;
use tritburn_kernels::decoder::embedding;

use crate::device::{client, supported};
use crate::harness::*;

/// Tokens, vocabulary, columns, spare columns.
const SHAPES: [(usize, usize, usize, usize); 8] = [
    (0, 3, 5, 0),
    (1, 1, 1, 0),
    (3, 5, 37, 3),
    (100, 1, 48, 0),
    (257, 3, 16, 8),
    (2500, 7, 16, 0),
    (2100, 5000, 16, 4),
    (65, 128, 768, 0),
];

#[test]
fn rows_of_an_id_are_added_and_rows_of_none_are_zero() {
    let client = client();
    for (i, (tokens, vocabulary, k, spare)) in SHAPES.into_iter().enumerate() {
        for dtype in supported(FLOATS) {
            let what = format!("{tokens} of {vocabulary} x {k} {dtype}");
            let mut rng = rng(i);
            let dy = floats(&mut rng, tokens * k, dtype);
            // One id in three is frequent, one in nine is no row of the table.
            let ids: Vec<u32> = (0..tokens)
                .map(|t| match t % 9 {
                    0 if t > 0 => [vocabulary as u32, u32::MAX][t % 2],
                    3 | 5 | 7 => (vocabulary / 2) as u32,
                    _ => rng.random_range(0..vocabulary as u32),
                })
                .collect();
            let mut expected = vec![0.0f64; vocabulary * k];
            let mut sizes = vec![0.0f64; vocabulary * k];
            for (row, &id) in dy.chunks(k).zip(&ids) {
                if (id as usize) < vocabulary {
                    for (col, dy) in row.iter().enumerate() {
                        expected[id as usize * k + col] += *dy as f64;
                        sizes[id as usize * k + col] += dy.abs() as f64;
                    }
                }
            }
            let dy = float_matrix(&client, &dy, [tokens, k], k + spare, dtype);
            let ids = words(&client, &ids);
            let run = || {
                let out = Out::new(&client, [vocabulary, k], k + spare, FloatType::F32);
                embedding::backward(&client, &dy, &ids, &out.matrix).unwrap();
                out.read(&client)
            };
            let found = run();
            // Each addition is off by half a step of the sum so far.
            let bounds: Vec<f64> = sizes.iter().map(|size| 2e-6 * size).collect();
            assert_within(&found, &expected, &bounds, &what);
            assert_bits(&run(), &found, &what);
        }
    }
}

#[test]
fn whole_numbers_add_up_exactly_whatever_the_order() {
    let client = client();
    let (tokens, k) = (1500, 32);
    let dy: Vec<f32> = (0..tokens * k).map(|i| (i % 17) as f32 - 8.0).collect();
    for vocabulary in [1, 2, 256] {
        let ids: Vec<u32> = (0..tokens)
            .map(|t| ((t * t + t / 7) % vocabulary) as u32)
            .collect();
        let mut expected = vec![0.0f32; vocabulary * k];
        for (row, &id) in dy.chunks(k).zip(&ids) {
            let sums = expected[id as usize * k..].iter_mut();
            sums.zip(row).for_each(|(sum, dy)| *sum += dy);
        }
        let out = Out::new(&client, [vocabulary, k], k, FloatType::F32);
        let dy = float_matrix(&client, &dy, [tokens, k], k, FloatType::F32);
        embedding::backward(&client, &dy, &words(&client, &ids), &out.matrix).unwrap();
        assert_bits(&out.read(&client), &expected, &format!("{vocabulary}"));
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let client = client();
    let dy = float_matrix(&client, &[0.0; 8], [2, 4], 4, FloatType::F32);
    let half = float_matrix(&client, &[0.0; 8], [2, 4], 4, FloatType::F16);
    let error = |ids: &[u32], table| {
        let result = embedding::backward(&client, &dy, &words(&client, ids), table);
        result.unwrap_err().to_string()
    };
    assert_eq!(
        error(&[1], &dy),
        "ids needs 2 elements, the buffer was given with 1"
    );
    assert_eq!(
        error(&[1, 1], &half),
        "gradient of the table is f16, expected f32"
    );
}
