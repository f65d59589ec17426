//! Rotation of sequences, in place or not, and back.

use tritburn_kernels::FloatType;
use tritburn_kernels::decoder::rotary::{self, Rotation};

use super::derivative::assert_close;
use crate::device::{client, supported};
use crate::harness::*;
use crate::reference;

/// Rows, tokens of a sequence, query heads, key heads, columns of a head, spare columns.
const SHAPES: [(usize, usize, usize, usize, usize, usize); 6] = [
    (0, 3, 2, 1, 8, 0),
    (1, 1, 1, 1, 2, 0),
    (7, 3, 3, 1, 6, 1),
    (8, 4, 2, 2, 64, 0),
    (9, 5, 4, 2, 128, 16),
    (3, 4, 0, 1, 16, 0),
];

#[test]
fn queries_and_keys_turn_by_their_position_and_back() {
    let client = client();
    for (i, (rows, length, heads, kv_heads, dim, spare)) in SHAPES.into_iter().enumerate() {
        for dtype in supported(FLOATS) {
            let what = format!("{rows} of {length}, {heads}+2x{kv_heads} heads of {dim} {dtype}");
            let cols = (heads + 2 * kv_heads) * dim;
            let x = floats(&mut rng(i), rows * cols, dtype);
            let table = rotary::table(length + 2, dim, 100.0);
            let turned: Vec<f64> = (0..rows)
                .flat_map(|row| {
                    let angles = &table[row % length * dim..];
                    let heads_of_row = x[row * cols..(row + 1) * cols].chunks(dim).enumerate();
                    heads_of_row.flat_map(move |(head, x)| match head < heads + kv_heads {
                        true => reference::rotate(x, &angles[..dim]),
                        false => x.iter().map(|&x| x as f64).collect(),
                    })
                })
                .collect();

            let rotation = Rotation {
                length,
                heads,
                kv_heads,
                dim,
                inverse: false,
            };
            let table = scales(&client, &table);
            let shape = [rows, cols];
            let qkv = float_matrix(&client, &x, shape, cols + spare, dtype);
            let out = Out::new(&client, shape, cols, dtype);
            rotary::rotate(&client, &qkv, &table, rotation, &out.matrix).unwrap();
            // Terms of up to 3 each.
            let (step, sizes) = (epsilon(dtype), vec![1.0; turned.len()]);
            assert_close(&out.read(&client), &turned, &sizes, step, &what);

            let stream = Out::filled(&client, &x, shape, cols + spare, dtype);
            rotary::rotate(&client, &stream.matrix, &table, rotation, &stream.matrix).unwrap();
            assert_bits(&stream.read(&client), &out.read(&client), &what);

            let back = Rotation {
                inverse: true,
                ..rotation
            };
            rotary::rotate(&client, &stream.matrix, &table, back, &stream.matrix).unwrap();
            let x: Vec<f64> = x.iter().map(|&x| x as f64).collect();
            // Rounded twice, the first time a neighbour of up to √2 the size.
            let step = 3.0 * step;
            let bounds: Vec<f64> = x.iter().map(|x| step * x.abs() + 3.0 * step).collect();
            assert_within(&stream.read(&client), &x, &bounds, &what);
        }
    }
}

#[test]
fn short_tables_and_odd_heads_are_refused() {
    let client = client();
    let qkv = float_matrix(&client, &[0.0; 24], [2, 12], 12, FloatType::F32);
    let rotation = Rotation {
        length: 2,
        heads: 1,
        kv_heads: 1,
        dim: 4,
        inverse: false,
    };
    let error = |rotation, positions| {
        let table = scales(&client, &vec![0.0; positions * 4usize]);
        let result = rotary::rotate(&client, &qkv, &table, rotation, &qkv);
        result.unwrap_err().to_string()
    };
    assert_eq!(
        error(rotation, 1),
        "rotary table needs 8 elements, the buffer was given with 4"
    );
    let odd = Rotation { dim: 3, ..rotation };
    assert_eq!(
        error(odd, 2),
        "columns of a head is 3, kernels take even numbers from 2 on"
    );
    let wide = Rotation {
        kv_heads: 2,
        ..rotation
    };
    assert_eq!(error(wide, 2), "qkv has shape [2, 12], expected [2, 20]");
}
