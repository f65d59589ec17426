//! Packed weights back to f32.

use rayon::prelude::*;

use crate::error::{CpuError, area, expect_len};
use crate::parallel;
use crate::view::WeightView;

/// Writes the real weights, `value(code) · unit · γ`, to `out` `[N, K]`.
///
/// # Errors
/// [`CpuError::Length`] if `out` does not fit.
pub fn dequantize(w: WeightView<'_>, out: &mut [f32]) -> Result<(), CpuError> {
    let layout = w.layout();
    let (n, k) = (layout.out_features(), layout.in_features());
    expect_len("out", out.len(), area(n, k)?)?;
    let group = w.group().unwrap_or(k);
    let row = |(row, (out, words)): (usize, (&mut [f32], &[u32]))| {
        for (g, (out, words)) in out
            .chunks_mut(group)
            .zip(words.chunks(group.div_ceil(16)))
            .enumerate()
        {
            let scale = w.scales()[layout.scale().index(row, g * group, k)];
            decode(out, words, values(&w, scale));
        }
    };
    if parallel::worth_it(out.len()) {
        out.par_chunks_exact_mut(k)
            .zip(w.words().par_chunks_exact(layout.words_per_row()))
            .enumerate()
            .for_each(row);
    } else {
        out.chunks_exact_mut(k)
            .zip(w.words().chunks_exact(layout.words_per_row()))
            .enumerate()
            .for_each(row);
    }
    Ok(())
}

/// The four weights that a code can mean at a scale.
fn values(w: &WeightView<'_>, scale: f32) -> [f32; 4] {
    let code = w.layout().code();
    [0, 1, 2, 3].map(|c| code.value(c) as f32 * (scale * code.unit()))
}

fn decode(out: &mut [f32], words: &[u32], values: [f32; 4]) {
    for (out, word) in out.chunks_mut(16).zip(words) {
        for (i, out) in out.iter_mut().enumerate() {
            *out = values[(word >> (2 * i)) as usize & 3];
        }
    }
}
