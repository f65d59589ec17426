//! Counts of codes are exact.

use rand::RngExt;
use tritburn_formats::{ScaleGranularity, WeightCode};
use tritburn_kernels::{KernelError, statistics};

use crate::device::client;
use crate::harness::*;

#[test]
fn zeros_and_flips_are_counted_and_padding_is_not() {
    let client = client();
    for (i, (n, k)) in WEIGHT_SHAPES.into_iter().chain([(700, 1040)]).enumerate() {
        for code in CODES {
            let layout = layout(n, k, code, ScaleGranularity::Tensor);
            let (mut rng, what) = (rng(i), format!("{n}x{k} {code:?}"));
            // Padding differs too: it may not be counted.
            let mut fields = || -> Vec<u32> {
                let most = if code == WeightCode::Ternary { 3 } else { 4 };
                let word = |_| (0..16).fold(0, |w, i| w | rng.random_range(0..most) << (2 * i));
                (0..layout.word_count()).map(word).collect()
            };
            let (before, after) = (fields(), fields());
            let at = |words: &[u32], row: usize, col: usize| {
                words[row * layout.words_per_row() + col / 16] >> (2 * (col % 16)) & 3
            };
            let places = || (0..n).flat_map(|row| (0..k).map(move |col| (row, col)));
            let zero = |&(row, col): &(usize, usize)| {
                code == WeightCode::Ternary && at(&after, row, col) == 1
            };
            let zeros = places().filter(zero).count() as u32;
            let flips = places()
                .filter(|&(row, col)| at(&before, row, col) != at(&after, row, col))
                .count() as u32;

            let [before, after] = [&before, &after].map(|data| words(&client, data));
            let (out, handle) = empty(&client, 3);
            for (before, flips) in [(Some(&before), flips), (None, 0), (Some(&after), 0)] {
                statistics::compare_codes(&client, &layout, before, &after, &out).unwrap();
                let found = read_u32(&client, &handle);
                assert_eq!(found, [zeros, flips, (n * k) as u32], "{what}");
            }
        }
    }
}

#[test]
fn buffers_of_another_length_are_refused() {
    let client = client();
    let layout = layout(3, 20, WeightCode::Ternary, ScaleGranularity::Row);
    let buffer = |len| empty(&client, len).0;
    let length = |operand, expected, found| {
        Err(KernelError::Length {
            operand,
            expected,
            found,
        })
    };
    let compare = |before, after, out| {
        let (before, after, out) = (buffer(before), buffer(after), buffer(out));
        statistics::compare_codes(&client, &layout, Some(&before), &after, &out)
    };
    assert_eq!(compare(6, 6, 3), Ok(()));
    assert_eq!(compare(6, 5, 3), length("packed words", 6, 5));
    assert_eq!(compare(5, 6, 3), length("packed words before", 6, 5));
    assert_eq!(compare(6, 6, 2), length("counts of codes", 3, 2));
}
