//! Quantisation of 16-byte lines of float activations: largest magnitude, and rounding to int8. The
//! instructions for pairs of half-precision floats need compute capability 9.0.

use cubecl::prelude::*;

use super::temporary;
use crate::device_code::decode::magnitude_bits;
use crate::operand::FloatType;

/// The larger of two magnitudes (f32), or of two pairs, element by element (half types). Magnitudes
/// compare as unsigned integers.
#[cube]
pub(crate) fn larger(a: u32, b: u32, #[comptime] dtype: FloatType) -> u32 {
    match comptime!(dtype) {
        FloatType::F32 => max(a, b),
        _ => {
            let (a, b) = (temporary(a), temporary(b));
            let out: u32;
            gpu_asm!(
                "max.u16x2 {out}, {a}, {b};",
                out = out(_) out,
                a = in(_) a,
                b = in(_) b,
                options(nomem),
            );
            out
        }
    }
}

/// The largest magnitude of a line. For half types a pair: that of the even and that of the odd elements.
#[cube]
pub(crate) fn largest_of_line(line: Vector<u32, Const<4>>, #[comptime] dtype: FloatType) -> u32 {
    let mask = comptime!(match dtype {
        FloatType::F32 => 0x7FFF_FFFFu32,
        _ => 0x7FFF_7FFF,
    });
    let first = larger(
        line.extract(0usize) & mask,
        line.extract(1usize) & mask,
        dtype,
    );
    let second = larger(
        line.extract(2usize) & mask,
        line.extract(3usize) & mask,
        dtype,
    );
    larger(first, second, dtype)
}

/// The result of [`larger`] as the bits of one f32 magnitude: for half types, the larger of the
/// pair.
#[cube]
pub(crate) fn magnitude_of(top: u32, #[comptime] dtype: FloatType) -> u32 {
    match comptime!(dtype) {
        FloatType::F32 => top,
        _ => {
            let one = max(top & 0xFFFF, top >> 16);
            magnitude_bits(low(one, dtype))
        }
    }
}

/// Word `index` of the int8 codes of `lines`: four values times `a`, rounded.
#[cube]
pub(crate) fn codes(
    lines: &Array<Vector<u32, Const<4>>>,
    #[comptime] index: usize,
    a: f32,
    #[comptime] dtype: FloatType,
) -> u32 {
    match comptime!(dtype) {
        FloatType::F32 => {
            let line = lines[index];
            round_bytes(
                f32::reinterpret(line.extract(0usize)),
                f32::reinterpret(line.extract(1usize)),
                f32::reinterpret(line.extract(2usize)),
                f32::reinterpret(line.extract(3usize)),
                a,
            )
        }
        _ => {
            let line = lines[comptime!(index / 2)];
            let first = line.extract(comptime!(index % 2 * 2));
            let second = line.extract(comptime!(index % 2 * 2 + 1));
            round_bytes(
                low(first, dtype),
                high(first, dtype),
                low(second, dtype),
                high(second, dtype),
                a,
            )
        }
    }
}

/// Four values times `a`, rounded to int8, in the order of the bytes. Each product is rounded to
/// f32 and then to the nearest integer, ties to even; `|value · a|` must be below 2²². Adding
/// 1.5·2²³ to the product rounds it: the sum's last place is 1, and its low mantissa bits are the
/// integer. This takes two fast instructions where a conversion takes two at a quarter of the rate.
#[cube]
pub(crate) fn round_bytes(v0: f32, v1: f32, v2: f32, v3: f32, a: f32) -> u32 {
    let out: u32;
    gpu_asm!(
        "{{ .reg .f32 s, t, u, v; .reg .b32 b, c, d, e; ",
        "mul.rn.f32 s, {v0}, {a}; mul.rn.f32 t, {v1}, {a}; ",
        "mul.rn.f32 u, {v2}, {a}; mul.rn.f32 v, {v3}, {a}; ",
        "add.rn.f32 s, s, 0f4B400000; add.rn.f32 t, t, 0f4B400000; ",
        "add.rn.f32 u, u, 0f4B400000; add.rn.f32 v, v, 0f4B400000; ",
        "mov.b32 b, s; mov.b32 c, t; mov.b32 d, u; mov.b32 e, v; ",
        "prmt.b32 b, b, c, 0x0040; prmt.b32 d, d, e, 0x0040; prmt.b32 {out}, b, d, 0x5410; }}",
        out = out(_) out,
        v0 = in(_) v0, v1 = in(_) v1, v2 = in(_) v2, v3 = in(_) v3, a = in(_) a,
        options(nomem),
    );
    out
}

/// The half-precision float in the low half of a word.
#[cube]
pub(crate) fn low(word: u32, #[comptime] dtype: FloatType) -> f32 {
    match comptime!(dtype) {
        FloatType::F16 => {
            let word = temporary(word);
            let out: u32;
            gpu_asm!(
                "{{ .reg .b16 l, h; mov.b32 {{l, h}}, {word}; cvt.f32.f16 {out}, l; }}",
                out = out(_) out,
                word = in(_) word,
                options(nomem),
            );
            f32::reinterpret(out)
        }
        _ => f32::reinterpret(word << 16),
    }
}

/// The half-precision float in the high half of a word.
#[cube]
pub(crate) fn high(word: u32, #[comptime] dtype: FloatType) -> f32 {
    match comptime!(dtype) {
        FloatType::F16 => {
            let word = temporary(word);
            let out: u32;
            gpu_asm!(
                "{{ .reg .b16 l, h; mov.b32 {{l, h}}, {word}; cvt.f32.f16 {out}, h; }}",
                out = out(_) out,
                word = in(_) word,
                options(nomem),
            );
            f32::reinterpret(out)
        }
        _ => f32::reinterpret(word & 0xFFFF_0000),
    }
}

/// The value of the lane whose number differs by the bits of `mask`. All lanes of the warp must execute this.
#[cube]
pub(crate) fn shuffle_xor(value: f32, #[comptime] mask: u32) -> f32 {
    let word = temporary(u32::reinterpret(value));
    let out: u32;
    gpu_asm!(
        "shfl.sync.bfly.b32 {out}, {word}, {mask}, 31, 0xffffffff;",
        out = out(_) out,
        word = in(_) word,
        mask = const mask,
    );
    f32::reinterpret(temporary(out))
}

/// The sum of `value` over a warp, in the order of `plane_sum`. All lanes of the warp must execute this.
#[cube]
pub(crate) fn sum_of_warp(value: f32) -> f32 {
    let mut sum = value;
    #[unroll]
    for step in 0..5u32 {
        sum += shuffle_xor(sum, comptime!(1u32 << step));
    }
    sum
}

/// The maximum of `value` over a warp. All lanes of the warp must execute this.
#[cube]
pub(crate) fn largest_of_warp(value: u32) -> u32 {
    let value = temporary(value);
    let out: u32;
    gpu_asm!(
        "redux.sync.max.u32 {out}, {value}, 0xffffffff;",
        out = out(_) out,
        value = in(_) value,
        options(nomem),
    );
    temporary(out)
}
