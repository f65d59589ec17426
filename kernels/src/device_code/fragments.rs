//! Decodes weights in fragment order into the registers of a tensor-core instruction. A new code table is
//! decoded here, for the tensor cores, and in [`decode`](super::decode), for the portable kernels.

use cubecl::prelude::*;
use tritburn_formats::WeightCode;

use super::mma_type::MmaType;

/// Register `register` (0..4) of the int8 fragment that `word` holds: 64·w for ternary codes, 32·v
/// for int2.
#[cube]
pub(crate) fn decode_int8(
    word: u32,
    #[comptime] register: u32,
    #[comptime] code: WeightCode,
) -> u32 {
    let top = (word << comptime!(2 * register).runtime()) & 0xC0C0_C0C0;
    match comptime!(code) {
        WeightCode::Ternary => top,
        _ => top | 0x2020_2020,
    }
}

/// Register `register` (0..8) of the two half-precision fragments that `word` holds: 2·w for
/// ternary codes, v/2 for int2. A ternary code in two's complement is the top two bits of ±2.0 or
/// 0. An int2 code is placed in the mantissa of 64.0, and one fused multiply-add subtracts the
/// offset.
#[cube]
pub(crate) fn decode_half(
    word: u32,
    #[comptime] register: u32,
    #[comptime] code: WeightCode,
    #[comptime] types: MmaType,
) -> u32 {
    match comptime!(code) {
        WeightCode::Ternary => (word << comptime!(2 * register).runtime()) & 0xC000_C000,
        _ => {
            // The mantissa bit of 64.0 that is worth 1.0: bf16 has 7 mantissa bits, f16 has 10.
            let bf16 = comptime!(types == MmaType::Bf16);
            let unit = comptime!(if bf16 { 1 } else { 4 });
            let from = comptime!(14 - 2 * register as i32);
            let moved = match comptime!(from >= unit) {
                true => word >> comptime!((from - unit) as u32 & 31).runtime(),
                false => word << comptime!((unit - from) as u32 & 31).runtime(),
            };
            let mask = comptime!(0x0003_0003u32 << unit);
            // 64.0 with the sign bit of the code flipped: 64 + (v + 3) / 2.
            let base = comptime!(if bf16 { 0x4280_4280u32 } else { 0x5400_5400 });
            let flip = comptime!(base | (0x0002_0002u32 << unit));
            let biased = (moved & mask) ^ flip;
            // 1.0 and -65.5 in both halves.
            let (one, offset) = match comptime!(bf16) {
                true => (0x3F80_3F80u32.runtime(), 0xC283_C283u32.runtime()),
                false => (0x3C00_3C00u32.runtime(), 0xD418_D418u32.runtime()),
            };
            let name = comptime!(if bf16 { "bf16x2" } else { "f16x2" });
            let out: u32;
            gpu_asm!(
                "fma.rn.{name} {out}, {biased}, {one}, {offset};",
                out = out(_) out,
                biased = in(_) biased,
                one = in(_) one,
                offset = in(_) offset,
                options(nomem),
            );
            out
        }
    }
}

/// Four int8 activations times four scales, each product rounded once to half precision: bytes 0 and 1
/// in the first register, bytes 2 and 3 in the second. The bytes are biased by 128. Each is placed in the
/// mantissa of 2²³, and 2²³ + 128 is subtracted in f32.
#[cube]
pub(crate) fn decode_scaled(
    word: u32,
    low: Vector<f32, Const<2>>,
    high: Vector<f32, Const<2>>,
    #[comptime] types: MmaType,
) -> Vector<u32, Const<2>> {
    let name = comptime!(if types == MmaType::F16 {
        "f16x2"
    } else {
        "bf16x2"
    });
    let s0 = low.extract(0usize);
    let s1 = low.extract(1usize);
    let s2 = high.extract(0usize);
    let s3 = high.extract(1usize);
    let out: Vector<u32, Const<2>>;
    gpu_asm!(
        "{{ .reg .b32 a, b, c, d; .reg .f32 e, f, g, h; ",
        "prmt.b32 a, {word}, 0x4B000000, 0x7540; prmt.b32 b, {word}, 0x4B000000, 0x7541; ",
        "prmt.b32 c, {word}, 0x4B000000, 0x7542; prmt.b32 d, {word}, 0x4B000000, 0x7543; ",
        "mov.b32 e, a; mov.b32 f, b; mov.b32 g, c; mov.b32 h, d; ",
        "add.f32 e, e, 0fCB000080; add.f32 f, f, 0fCB000080; ",
        "add.f32 g, g, 0fCB000080; add.f32 h, h, 0fCB000080; ",
        "mul.f32 e, e, {s0}; mul.f32 f, f, {s1}; mul.f32 g, g, {s2}; mul.f32 h, h, {s3}; ",
        "cvt.rn.{name}.f32 %0, f, e; cvt.rn.{name}.f32 %1, h, g; /* {out} */ }}",
        out = out(_) out,
        word = in(_) word,
        s0 = in(_) s0, s1 = in(_) s1, s2 = in(_) s2, s3 = in(_) s3,
        options(nomem),
    );
    out
}
