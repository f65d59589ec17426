//! Loads, stores and dot products of the heads of a row, and the position that a unit works on.

use cubecl::prelude::*;

/// Runtime sizes; strides count lines.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct RowExtents {
    /// Sequences.
    pub batch: usize,
    /// Tokens of a sequence.
    pub length: usize,
    /// Query heads.
    pub heads: usize,
    /// Key heads.
    pub kv_heads: usize,
    /// Row stride of qkv.
    pub qkv_stride: usize,
    /// Row stride of the output.
    pub out_stride: usize,
    /// Row stride of the output's gradient.
    pub d_out_stride: usize,
    /// Row stride of the gradient of qkv.
    pub d_qkv_stride: usize,
    /// Factor of the scores.
    pub scale: f32,
}

/// The position and head that a unit works on. Neighbouring units have neighbouring positions, so that on a
/// GPU they read the same keys at the same time.
#[derive(CubeType, Clone, Copy)]
pub(super) struct HeadPosition {
    /// First token of the sequence.
    pub first: usize,
    /// Position in the sequence.
    pub position: usize,
    /// The head, of `heads`.
    pub head: usize,
}

/// The position and head of row `row` of `[batch, heads, length]`.
#[cube]
pub(super) fn head_position(row: usize, heads: usize, length: usize) -> HeadPosition {
    HeadPosition {
        first: row / length / heads * length,
        position: row % length,
        head: row / length % heads,
    }
}

/// Loads `lines` lines from `start` on, converted to f32.
#[cube]
pub(super) fn load<F: Float, V: Size>(
    from: &[Vector<F, V>],
    start: usize,
    #[comptime] lines: usize,
) -> Array<Vector<f32, V>> {
    let mut held = Array::<Vector<f32, V>>::new(lines);
    #[unroll(in_registers(lines))]
    for i in 0..lines {
        held[i] = Vector::cast_from(from[start + i]);
    }
    held
}

/// `lines` lines of zeros.
#[cube]
pub(super) fn zeros<V: Size>(#[comptime] lines: usize) -> Array<Vector<f32, V>> {
    let mut held = Array::<Vector<f32, V>>::new(lines);
    #[unroll(in_registers(lines))]
    for i in 0..lines {
        held[i] = Vector::new(0.0f32);
    }
    held
}

/// Stores `held · factor`.
#[cube]
pub(super) fn store<F: Float, V: Size>(
    held: &Array<Vector<f32, V>>,
    factor: f32,
    to: &mut [Vector<F, V>],
    start: usize,
    #[comptime] lines: usize,
) {
    #[unroll(in_registers(lines))]
    for i in 0..lines {
        to[start + i] = Vector::cast_from(held[i] * Vector::new(factor));
    }
}

/// The dot product of `held` and the lines from `start` on.
#[cube]
pub(super) fn dot<F: Float, V: Size>(
    held: &Array<Vector<f32, V>>,
    other: &[Vector<F, V>],
    start: usize,
    #[comptime] lines: usize,
) -> f32 {
    let mut sums = Vector::<f32, V>::new(0.0f32);
    #[unroll(in_registers(lines))]
    for i in 0..lines {
        sums += held[i] * Vector::cast_from(other[start + i]);
    }
    let mut sum = sums.extract(0usize);
    #[unroll]
    for j in 1..V::value() {
        sum += sums.extract(j);
    }
    sum
}

/// `sums = sums · keep + factor ·` the lines from `start` on.
#[cube]
pub(super) fn add<F: Float, V: Size>(
    sums: &mut Array<Vector<f32, V>>,
    keep: f32,
    factor: f32,
    other: &[Vector<F, V>],
    start: usize,
    #[comptime] lines: usize,
) {
    #[unroll(in_registers(lines))]
    for i in 0..lines {
        let line = Vector::<f32, V>::cast_from(other[start + i]);
        sums[i] = sums[i] * Vector::new(keep) + line * Vector::new(factor);
    }
}

/// Whether loops over a head are unrolled, which keeps its lines in registers.
fn in_registers(lines: usize) -> bool {
    lines <= 32
}
