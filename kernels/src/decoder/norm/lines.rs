//! The norm on GPUs with planes of 32: a row is read once, 16 bytes at a time, and kept in registers.

use cubecl::prelude::*;

use super::activation::gate;
use super::base::{LinePlan, Source};
use crate::device_code::decode::magnitude_bits;
use crate::device_code::team::{team_max, team_sum};
use crate::quantize::activation::kernel::quantized_word;
use crate::quantize::activation::{rounding_of, scale_of};

/// Runtime sizes. Strides are in elements, or in lines where the kernel reads lines.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(crate) struct RowExtents {
    /// Rows.
    pub rows: usize,
    /// Values of a row, in lines where the kernel reads lines.
    pub cols: usize,
    /// Row stride of x.
    pub x_stride: usize,
    /// Row stride of the addend.
    pub add_stride: usize,
    /// Row stride of the sum.
    pub sum_stride: usize,
    /// Row stride of y.
    pub y_stride: usize,
    /// Added to the mean square.
    pub eps: f32,
}

/// One row per cube: adds the residual, normalises, and stores codes or floats.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn norm_lines<F: Float, G: Float, V: Size, W: Size, C: Size>(
    x: &[Vector<F, V>],
    add: ComptimeOption<&[Vector<F, V>]>,
    mut sum: ComptimeOption<&mut [Vector<F, V>]>,
    gamma: &[Vector<G, W>],
    mut codes: ComptimeOption<&mut [Vector<u32, C>]>,
    mut scales: ComptimeOption<&mut [f32]>,
    mut y: ComptimeOption<&mut [Vector<F, V>]>,
    extents: RowExtents,
    #[comptime] source: Source,
    #[comptime] plan: LinePlan,
    #[define(F)] _dtype: ElemType,
    #[define(G)] _gamma_type: ElemType,
) {
    let row = CUBE_POS;
    if row < extents.rows {
        let unit = UNIT_POS as usize;
        let width = V::value();
        let gamma_width = W::value();
        let words = C::value();
        let units = comptime!(plan.team.units);
        let last = extents.cols - 1;
        let mut shared = Shared::<[u32]>::new_slice(comptime!(plan.team.shared_words(2)));

        let mut held = Array::<f32>::new(comptime!(plan.lines * width));
        let mut gammas = Array::<Vector<G, W>>::new(comptime!(plan.lines * width / gamma_width));
        let mut squares = 0.0f32;
        #[unroll]
        for i in 0..comptime!(plan.lines) {
            let line = unit + comptime!(i * units);
            let live = line < extents.cols;
            let at = min(line, last);
            let first = x[row * extents.x_stride + at];
            #[unroll]
            for j in 0..comptime!(width / gamma_width) {
                gammas[comptime!(i * width / gamma_width + j)] =
                    gamma[at * comptime!(width / gamma_width) + j];
            }
            let mut value = first;
            match comptime!(source) {
                Source::Add => {
                    #[comptime]
                    if let ComptimeOption::Some(add) = add {
                        value = add_lines::<F, V>(first, add[row * extents.add_stride + at]);
                    }
                    if live {
                        store(&mut sum, row * extents.sum_stride + at, value);
                    }
                }
                Source::InPlace => {
                    let to = row * extents.sum_stride + at;
                    value = add_lines::<F, V>(first, load(&sum, to, first));
                    if live {
                        store(&mut sum, to, value);
                    }
                }
                Source::Gated(_) => {
                    value = x[row * extents.x_stride + extents.cols + at];
                }
                Source::Plain => {}
            }
            #[unroll]
            for j in 0..width {
                let mut v = f32::cast_from(value.extract(j));
                if comptime!(source.is_gated()) {
                    v *= gate(f32::cast_from(first.extract(j)), source);
                }
                v = select(live, v, 0.0f32);
                held[comptime!(i * width + j)] = v;
                squares += v * v;
            }
        }

        let total = team_sum(squares, &mut shared, 0usize, comptime!(plan.team));
        let mean = total / f32::cast_from(extents.cols * width);
        let r = 1.0f32 / (mean + extents.eps).sqrt();
        let mut top = 0u32;
        #[unroll]
        for i in 0..comptime!(plan.lines * width) {
            let g = gammas[comptime!(i / gamma_width)].extract(comptime!(i % gamma_width));
            let v = f32::cast_from(g) * (held[i] * r);
            held[i] = v;
            top = max(top, magnitude_bits(v));
        }

        if comptime!(y.is_some()) {
            #[unroll]
            for i in 0..comptime!(plan.lines) {
                let line = unit + comptime!(i * units);
                if line < extents.cols {
                    let mut out = Vector::<F, V>::empty();
                    #[unroll]
                    for j in 0..width {
                        out.insert(j, F::cast_from(held[comptime!(i * width + j)]));
                    }
                    store(&mut y, row * extents.y_stride + line, out);
                }
            }
        }
        if comptime!(codes.is_some()) {
            let top = team_max(top, &mut shared, 1usize, comptime!(plan.team));
            let rounding = rounding_of(top);
            let (finite, a) = (rounding.finite, rounding.a);
            #[unroll]
            for i in 0..comptime!(plan.lines) {
                let line = unit + comptime!(i * units);
                if line < extents.cols {
                    let mut packed = Vector::<u32, C>::empty();
                    #[unroll]
                    for word in 0..words {
                        let bytes = quantized_word(
                            held[comptime!(i * width + 4 * word)],
                            held[comptime!(i * width + 4 * word + 1)],
                            held[comptime!(i * width + 4 * word + 2)],
                            held[comptime!(i * width + 4 * word + 3)],
                            a,
                            finite,
                            comptime!(plan.ptx),
                        );
                        packed.insert(word, bytes);
                    }
                    store(&mut codes, row * extents.cols + line, packed);
                }
            }
            if unit == 0 {
                store(&mut scales, row, scale_of(&rounding));
            }
        }
    }
}

/// Element `at` of an optional buffer, or `other` without one.
#[cube]
pub(super) fn load<T: CubePrimitive>(from: &ComptimeOption<&mut [T]>, at: usize, other: T) -> T {
    let mut value = other;
    #[comptime]
    match from {
        ComptimeOption::Some(from) => {
            value = from[at];
        }
        ComptimeOption::None => {}
    }
    value
}

/// Stores to an optional buffer.
#[cube]
pub(super) fn store<T: CubePrimitive>(to: &mut ComptimeOption<&mut [T]>, at: usize, value: T) {
    #[comptime]
    match to {
        ComptimeOption::Some(to) => {
            to[at] = value;
        }
        ComptimeOption::None => {}
    }
}

/// `a + b`, rounded once.
#[cube]
fn add_lines<F: Float, V: Size>(a: Vector<F, V>, b: Vector<F, V>) -> Vector<F, V> {
    let mut sum = Vector::<F, V>::empty();
    #[unroll]
    for j in 0..V::value() {
        let value = f32::cast_from(a.extract(j)) + f32::cast_from(b.extract(j));
        sum.insert(j, F::cast_from(value));
    }
    sum
}
