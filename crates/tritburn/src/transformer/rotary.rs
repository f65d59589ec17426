//! The table of the rotary position embedding (Su et al. 2021, arXiv 2104.09864).

use burn::tensor::{DType, Device, Tensor, TensorData};

/// Cosines and sines of every position: F32 `[positions · size]`, `size / 2` cosines and then
/// `size / 2` sines a position. Angles are `position / theta^(2i / size)` in f32, as Hugging Face
/// transformers computes them.
pub fn rotary_table(theta: f32, size: usize, positions: usize, device: &Device) -> Tensor<1> {
    let frequencies: Vec<f32> = (0..size / 2)
        .map(|i| 1.0 / theta.powf((2 * i) as f32 / size as f32))
        .collect();
    let mut table = Vec::with_capacity(positions * size);
    for position in 0..positions {
        let angles = || frequencies.iter().map(|f| position as f32 * f);
        table.extend(angles().map(f32::cos));
        table.extend(angles().map(f32::sin));
    }
    let len = table.len();
    Tensor::from_data(TensorData::new(table, [len]), (device, DType::F32))
}
