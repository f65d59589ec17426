//! Device code of the weight gradient.

use cubecl::prelude::*;
use tritburn_formats::layout::WEIGHTS_PER_WORD;

use super::base::WeightBlueprint;
use crate::device_code::extents::Extents;

/// `dw[n, k] = Σ_m (dy[m, n] · s_m) · q[m, k]`, added in ascending order of m. In `extents`, x is the
/// activations (in lines of four words) and y is dW.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn weight_gradient<F: Float, O: Float>(
    dy: &[F],
    x: &[Vector<u32, Const<4>>],
    x_scales: &[f32],
    dw: &mut [O],
    dy_stride: usize,
    extents: Extents,
    #[comptime] plan: WeightBlueprint,
    #[define(F)] _dy_type: ElemType,
    #[define(O)] _dw_type: ElemType,
) {
    let line = ABSOLUTE_POS % extents.words;
    let row = (ABSOLUTE_POS / extents.words) * comptime!(plan.rows);
    if row >= extents.n {
        terminate!();
    }
    let mut column = Array::<usize>::new(comptime!(plan.rows));
    let mut acc = Array::<Vector<f32, Const<16>>>::new(comptime!(plan.rows));
    #[unroll]
    for r in 0..comptime!(plan.rows) {
        column[r] = min(row + r, extents.n - 1);
        acc[r] = Vector::new(0.0f32);
    }
    for m in 0..extents.m {
        let q = bytes(x[m * extents.x_stride + line], comptime!(plan.bytes));
        let scale = x_scales[m];
        #[unroll]
        for r in 0..comptime!(plan.rows) {
            let gradient = f32::cast_from(dy[m * dy_stride + column[r]]) * scale;
            acc[r] += q * Vector::new(gradient);
        }
    }
    #[unroll]
    for r in 0..comptime!(plan.rows) {
        #[unroll]
        for i in 0..comptime!(WEIGHTS_PER_WORD) {
            let col = line * comptime!(WEIGHTS_PER_WORD) + i;
            if row + r < extents.n && col < extents.k {
                dw[(row + r) * extents.y_stride + col] = O::cast_from(acc[r].extract(i));
            }
        }
    }
}

/// The sixteen int8 of a line as f32.
#[cube]
fn bytes(line: Vector<u32, Const<4>>, #[comptime] native: bool) -> Vector<f32, Const<16>> {
    if comptime!(native) {
        Vector::cast_from(Vector::<i8, Const<16>>::reinterpret(line))
    } else {
        let mut out = Vector::<i32, Const<16>>::empty();
        #[unroll]
        for j in 0..4usize {
            let word = i32::reinterpret(line.extract(j));
            #[unroll]
            for b in 0..4usize {
                // Shifted up to the sign bit and arithmetically back down, which extends the sign.
                let high = word << comptime!(24 - 8 * b as i32).runtime();
                out.insert(comptime!(4 * j + b), high >> 24i32);
            }
        }
        Vector::cast_from(out)
    }
}
