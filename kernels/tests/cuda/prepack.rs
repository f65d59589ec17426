//! Prepacking on the device against the layout's definition.

use rstest::rstest;
use tritburn_formats::{ScaleGranularity, WeightCode};
use tritburn_kernels::{FragmentOrder, PrepackedWeights};

use crate::harness::*;
use crate::support::{client, prepacked_words};

/// Two's complement code that a fragment holds for the canonical `code` at `(row, col)`.
fn expected(code: WeightCode, canonical: u32) -> u32 {
    match code {
        WeightCode::Ternary => (canonical + 3) & 3,
        _ => (canonical + 2) & 3,
    }
}

#[rstest]
fn every_code_is_where_the_layout_says(
    #[values(FragmentOrder::Int8, FragmentOrder::Half)] order: FragmentOrder,
    #[values(WeightCode::Ternary, WeightCode::Int2)] code: WeightCode,
    #[values((1, 1), (65, 130), (64, 128), (200, 257))] shape: (usize, usize),
) {
    let client = client();
    let layout = layout(shape.0, shape.1, code, ScaleGranularity::Row);
    let matrix = matrix(&mut rng(1), &layout);
    let fragments = PrepackedWeights::fragments(&layout, order).unwrap();
    let (_, handle) = prepacked_words(&client, &matrix, order);
    let words = read_u32(&client, &handle);
    let canonical = |row: usize, col: usize| {
        let word = matrix.words()[row * layout.words_per_row() + col / 16];
        (word >> (2 * (col % 16))) & 3
    };
    for row in 0..shape.0 {
        for col in 0..shape.1 {
            let (word, bit) = fragments.position(row, col);
            let found = (words[word] >> bit) & 3;
            assert_eq!(
                found,
                expected(code, canonical(row, col)),
                "{order:?} {row}, {col}"
            );
        }
    }
    let inside = shape.0 * shape.1;
    let set = |row, col| {
        let (word, bit) = fragments.position(row, col);
        (words[word] >> bit) & 3
    };
    let outside: u32 = (shape.0..fragments.row_tiles() * 64)
        .flat_map(|row| (0..fragments.col_tiles() * 128).map(move |col| (row, col)))
        .map(|(row, col)| set(row, col))
        .sum();
    assert_eq!(outside, 0, "rows past the {inside} weights are zero");
}
