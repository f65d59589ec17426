//! Random matrices and random bytes for codecs.

use proptest::prelude::*;
use tritburn_formats::{PackedLayout, PackedMatrix, ScaleGranularity, WeightCode};

/// A ternary matrix with random codes; what its padding holds is random too.
pub fn ternary(
    out: usize,
    k: usize,
    scale: ScaleGranularity,
    seed: u64,
    scales: impl Fn(usize) -> f32,
) -> PackedMatrix {
    let layout = PackedLayout::new(out, k, WeightCode::Ternary, scale).expect("a valid layout");
    let mut state = seed | 1;
    let mut random = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        state >> 33
    };
    let words_per_row = layout.words_per_row();
    let words = (0..layout.word_count())
        .map(|i| {
            let first = i % words_per_row * 16;
            (0..16).fold(0, |word, f| {
                let levels = if first + f < k { 3 } else { 4 };
                word | ((random() % levels) as u32) << (2 * f)
            })
        })
        .collect();
    let scales = (0..layout.scale_count()).map(scales).collect();
    PackedMatrix::new(layout, words, scales).expect("a valid matrix")
}

/// Whether both are the same but for what padding holds, and `decoded` has clean padding.
pub fn same(decoded: &PackedMatrix, original: &PackedMatrix) -> bool {
    let k = original.layout().in_features();
    let clean = decoded
        .words()
        .chunks(decoded.layout().words_per_row())
        .all(|row| (k..16 * row.len()).all(|col| row[col / 16] >> (2 * (col % 16)) & 3 == 1));
    decoded.layout() == original.layout()
        && decoded.scales() == original.scales()
        && decoded.codes() == original.codes()
        && clean
}

/// Sizes up to `units` times `unit`, small ones more often.
pub fn size(unit: usize, units: usize) -> impl Strategy<Value = usize> {
    prop_oneof![1..=3.min(units), 1..=units].prop_map(move |n| n * unit)
}
