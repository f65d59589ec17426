//! Inputs that more than one test file needs.

pub mod affine_readers;
pub mod arbitrary;
pub mod golden;
pub mod readers;

use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};

/// Deterministic values, uniform in [-1, 1).
pub fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

pub fn layout(out: usize, k: usize, code: WeightCode, scale: ScaleGranularity) -> PackedLayout {
    PackedLayout::new(out, k, code, scale).expect("a valid layout")
}

/// Every granularity that fits a matrix of `out` rows.
pub fn granularities(out: usize) -> Vec<ScaleGranularity> {
    let mut all = vec![
        ScaleGranularity::Tensor,
        ScaleGranularity::Row,
        ScaleGranularity::Group { size: 16 },
        ScaleGranularity::Group { size: 48 },
        ScaleGranularity::Group { size: 1 << 20 },
        ScaleGranularity::Segments { rows: vec![out] },
    ];
    if out > 2 {
        let rows = vec![1, out - 2, 1];
        all.push(ScaleGranularity::Segments { rows });
    }
    all
}

pub const CODES: [WeightCode; 2] = [WeightCode::Ternary, WeightCode::Int2];

/// `[out, in]`: one row, one column, edges of a word, of a group and of a task.
pub const SHAPES: [(usize, usize); 9] = [
    (1, 1),
    (1, 16),
    (3, 7),
    (5, 17),
    (4, 48),
    (7, 100),
    (2, 1030),
    (33, 129),
    (300, 257),
];
