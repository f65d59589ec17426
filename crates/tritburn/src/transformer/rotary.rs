//! The table of the rotary position embedding (Su et al. 2021, arXiv 2104.09864).

use burn::tensor::{DType, Device, Tensor, TensorData};

/// Cosines and sines of every position: F32 `[positions · size]`, `size / 2` cosines and then
/// `size / 2` sines a position. Angles are `position / theta^(2i / size)` in f32, as Hugging Face
/// transformers computes them.
pub fn rotary_table(theta: f32, size: usize, positions: usize, device: &Device) -> Tensor<1> {
    scaled_rotary_table(&rotary_frequencies(theta, size), 1.0, positions, device)
}

/// Angles by which pair `i` of `size / 2` turns from one position to the next: `1 / theta^(2i / size)`.
pub fn rotary_frequencies(theta: f32, size: usize) -> Vec<f32> {
    (0..size / 2)
        .map(|i| 1.0 / theta.powf((2 * i) as f32 / size as f32))
        .collect()
}

/// [`rotary_table`] of given frequencies, one a pair, with cosines and sines multiplied by `factor`.
/// A pair of frequency 0 does not turn and is not multiplied: heads that are rotated in part have
/// such pairs.
pub fn scaled_rotary_table(
    frequencies: &[f32],
    factor: f32,
    positions: usize,
    device: &Device,
) -> Tensor<1> {
    let mut table = Vec::with_capacity(positions * 2 * frequencies.len());
    for position in 0..positions {
        let angles = || frequencies.iter().map(|f| (position as f32 * f, *f == 0.0));
        table.extend(angles().map(|(angle, still)| match still {
            true => 1.0,
            false => angle.cos() * factor,
        }));
        table.extend(angles().map(|(angle, _)| angle.sin() * factor));
    }
    let len = table.len();
    Tensor::from_data(TensorData::new(table, [len]), (device, DType::F32))
}
