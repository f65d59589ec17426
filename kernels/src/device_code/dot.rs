//! Inner loops of the portable products: the dot products of a tile of weight rows with a tile of
//! tokens over a range of packed words.

use cubecl::prelude::*;
use tritburn_formats::WeightCode;
use tritburn_formats::layout::WEIGHTS_PER_WORD;

use crate::device_code::decode::{code_bytes, codes, values};

/// How a unit multiplies int8 activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntegerDot {
    /// Four products per instruction (`dp4a`), where the device has it.
    Dp4a,
    /// Vectors of sixteen i32, for devices with wide vector registers and an i8 type.
    Wide,
}

/// Outputs of one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UnitTile {
    /// Weight rows.
    pub rows: usize,
    /// Tokens.
    pub tokens: usize,
}

impl UnitTile {
    /// Number of outputs.
    pub const fn len(&self) -> usize {
        self.rows * self.tokens
    }

    /// Whether the tile holds nothing.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Packed words `start, start + step, …` below `end`.
#[derive(CubeType, Clone, Copy)]
pub(crate) struct Words {
    pub start: usize,
    pub end: usize,
    pub step: usize,
}

/// `acc[row · tokens + token] = Σ q · value` over `range`, exactly. `x_base` and `w_base` index the
/// first word of each token (a line of four) and row.
#[cube]
#[allow(clippy::too_many_arguments)]
pub(crate) fn dot_i32(
    x: &[Vector<u32, Const<4>>],
    words: &[u32],
    x_base: &Array<usize>,
    w_base: &Array<usize>,
    range: Words,
    acc: &mut Array<i32>,
    #[comptime] tile: UnitTile,
    #[comptime] code: WeightCode,
    #[comptime] dot: IntegerDot,
) {
    match comptime!(dot) {
        IntegerDot::Dp4a => dot_dp4a(x, words, x_base, w_base, range, acc, tile, code),
        IntegerDot::Wide => dot_wide(x, words, x_base, w_base, range, acc, tile, code),
    }
}

#[cube]
#[allow(clippy::too_many_arguments)]
fn dot_dp4a(
    x: &[Vector<u32, Const<4>>],
    words: &[u32],
    x_base: &Array<usize>,
    w_base: &Array<usize>,
    range: Words,
    acc: &mut Array<i32>,
    #[comptime] tile: UnitTile,
    #[comptime] code: WeightCode,
) {
    // Codes are multiplied as stored, which is with a bias. `bias · Σq` is subtracted once at the end.
    let mut sums = Array::<i32>::new(comptime!(tile.tokens));
    #[unroll]
    for i in 0..comptime!(tile.len()) {
        acc[i] = 0i32;
    }
    #[unroll]
    for t in 0..comptime!(tile.tokens) {
        sums[t] = 0i32;
    }
    let mut word = range.start;
    while word < range.end {
        let mut packed = Array::<u32>::new(comptime!(tile.rows));
        #[unroll]
        for r in 0..comptime!(tile.rows) {
            packed[r] = words[w_base[r] + word];
        }
        let mut lines = Array::<Vector<u32, Const<4>>>::new(comptime!(tile.tokens));
        #[unroll]
        for t in 0..comptime!(tile.tokens) {
            lines[t] = x[x_base[t] + word];
        }
        #[unroll]
        for j in 0..4usize {
            #[unroll]
            for t in 0..comptime!(tile.tokens) {
                let q = i32::reinterpret(lines[t].extract(j));
                sums[t] = dp4a(q, 0x0101_0101i32, sums[t]);
            }
            #[unroll]
            for r in 0..comptime!(tile.rows) {
                let bytes = code_bytes(packed[r], comptime!(j as u32));
                #[unroll]
                for t in 0..comptime!(tile.tokens) {
                    let i = comptime!(r * tile.tokens + t);
                    acc[i] = dp4a(bytes, i32::reinterpret(lines[t].extract(j)), acc[i]);
                }
            }
        }
        word += range.step;
    }
    #[unroll]
    for r in 0..comptime!(tile.rows) {
        #[unroll]
        for t in 0..comptime!(tile.tokens) {
            let i = comptime!(r * tile.tokens + t);
            acc[i] = acc[i] * comptime!(code.multiplier()).runtime()
                - sums[t] * comptime!(code.offset()).runtime();
        }
    }
}

#[cube]
#[allow(clippy::too_many_arguments)]
fn dot_wide(
    x: &[Vector<u32, Const<4>>],
    words: &[u32],
    x_base: &Array<usize>,
    w_base: &Array<usize>,
    range: Words,
    acc: &mut Array<i32>,
    #[comptime] tile: UnitTile,
    #[comptime] code: WeightCode,
) {
    let zero = Vector::<i32, Const<16>>::new(0i32);
    let mut wide = Array::<Vector<i32, Const<16>>>::new(comptime!(tile.len()));
    let mut sums = Array::<Vector<i32, Const<16>>>::new(comptime!(tile.tokens));
    #[unroll]
    for i in 0..comptime!(tile.len()) {
        wide[i] = zero;
    }
    #[unroll]
    for t in 0..comptime!(tile.tokens) {
        sums[t] = zero;
    }
    let mut word = range.start;
    while word < range.end {
        let mut q = Array::<Vector<i32, Const<16>>>::new(comptime!(tile.tokens));
        #[unroll]
        for t in 0..comptime!(tile.tokens) {
            q[t] = Vector::cast_from(Vector::<i8, Const<16>>::reinterpret(x[x_base[t] + word]));
            sums[t] += q[t];
        }
        #[unroll]
        for r in 0..comptime!(tile.rows) {
            let codes = codes::<Const<16>>(words[w_base[r] + word], 0usize);
            #[unroll]
            for t in 0..comptime!(tile.tokens) {
                let i = comptime!(r * tile.tokens + t);
                wide[i] += codes * q[t];
            }
        }
        word += range.step;
    }
    let multiplier = Vector::<i32, Const<16>>::new(comptime!(code.multiplier()).runtime());
    let offset = Vector::<i32, Const<16>>::new(comptime!(code.offset()).runtime());
    #[unroll]
    for r in 0..comptime!(tile.rows) {
        #[unroll]
        for t in 0..comptime!(tile.tokens) {
            let i = comptime!(r * tile.tokens + t);
            let lanes = wide[i] * multiplier - sums[t] * offset;
            let mut sum = 0i32;
            #[unroll]
            for lane in 0..16usize {
                sum += lanes.extract(lane);
            }
            acc[i] = sum;
        }
    }
}

/// `acc[row · tokens + token] = Σ x · value` over `range` in f32, in `A` independent partial sums.
///
/// `x_base` counts elements. A row has `cols` inputs. `V` must be 1 if rows end inside a word or do not
/// start at a line.
#[cube]
#[allow(clippy::too_many_arguments)]
pub(crate) fn dot_f32<F: Float, V: Size, A: Size>(
    x: &[Vector<F, V>],
    words: &[u32],
    x_base: &Array<usize>,
    w_base: &Array<usize>,
    range: Words,
    cols: usize,
    acc: &mut Array<f32>,
    #[comptime] tile: UnitTile,
    #[comptime] code: WeightCode,
) {
    let lanes = A::value();
    let chunks = comptime!(WEIGHTS_PER_WORD / lanes);
    let mut wide = Array::<Vector<f32, A>>::new(comptime!(tile.len()));
    #[unroll]
    for i in 0..comptime!(tile.len()) {
        wide[i] = Vector::<f32, A>::new(0.0f32);
    }
    let mut word = range.start;
    while word < range.end {
        let mut packed = Array::<u32>::new(comptime!(tile.rows));
        #[unroll]
        for r in 0..comptime!(tile.rows) {
            packed[r] = words[w_base[r] + word];
        }
        #[unroll]
        for c in 0..chunks {
            let first = comptime!(c * lanes);
            let mut inputs = Array::<Vector<f32, A>>::new(comptime!(tile.tokens));
            #[unroll]
            for t in 0..comptime!(tile.tokens) {
                let col = word * comptime!(WEIGHTS_PER_WORD) + first;
                inputs[t] = load::<F, V, A>(x, x_base[t], col, cols);
            }
            #[unroll]
            for r in 0..comptime!(tile.rows) {
                let weights = values::<A>(packed[r], first, code);
                #[unroll]
                for t in 0..comptime!(tile.tokens) {
                    let i = comptime!(r * tile.tokens + t);
                    wide[i] += weights * inputs[t];
                }
            }
        }
        word += range.step;
    }
    sum_lanes::<A>(&wide, acc, tile);
}

/// `acc[i]`: the sum of the elements of `wide[i]`, in their order.
#[cube]
pub(crate) fn sum_lanes<A: Size>(
    wide: &Array<Vector<f32, A>>,
    acc: &mut Array<f32>,
    #[comptime] tile: UnitTile,
) {
    #[unroll]
    for i in 0..comptime!(tile.len()) {
        let mut sum = 0.0f32;
        #[unroll]
        for lane in 0..A::value() {
            sum += wide[i].extract(lane);
        }
        acc[i] = sum;
    }
}

/// Inputs `col..col + A` of the row at `base` as f32; inputs past `cols` are 0.
#[cube]
pub(crate) fn load<F: Float, V: Size, A: Size>(
    x: &[Vector<F, V>],
    base: usize,
    col: usize,
    cols: usize,
) -> Vector<f32, A> {
    let lanes = A::value();
    let width = V::value();
    let mut out = Vector::<f32, A>::empty();
    if comptime!(width == 1) {
        #[unroll]
        for i in 0..A::value() {
            let inside = col + i < cols;
            let value = x[base + select(inside, col + i, 0)].extract(0usize);
            out.insert(i, select(inside, f32::cast_from(value), 0.0f32));
        }
    } else {
        #[unroll]
        for line in 0..comptime!(lanes / width) {
            let values = Vector::<f32, V>::cast_from(x[(base + col) / width + line]);
            #[unroll]
            for i in 0..V::value() {
                out.insert(comptime!(line * width + i), values.extract(i));
            }
        }
    }
    out
}
