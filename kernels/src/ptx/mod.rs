//! PTX instructions that CubeCL has no word for, and the decoding of fragment words.
//!
//! Only kernels that [`CudaFacts`](crate::device::CudaFacts) let through reach them.

use cubecl::prelude::*;
use tritburn_formats::WeightCode;

use crate::operand::FloatType;

pub(crate) mod barrier;
pub(crate) mod bulk;
pub(crate) mod lines;

/// What tensor cores multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MmaType {
    /// int8, summed in i32.
    Int8,
    /// bf16, summed in f32.
    Bf16,
    /// f16, summed in f32.
    F16,
}

impl MmaType {
    /// Bytes of an element.
    pub const fn size(self) -> usize {
        match self {
            Self::Int8 => 1,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    /// The type that multiplies activations of `dtype`.
    pub const fn of(dtype: FloatType) -> Self {
        match dtype {
            FloatType::F16 => Self::F16,
            FloatType::BF16 | FloatType::F32 => Self::Bf16,
        }
    }

    /// Type of the sums.
    pub const fn accumulator(self) -> ElemType {
        use cubecl::ir::{FloatKind, IntKind};
        match self {
            Self::Int8 => ElemType::Int(IntKind::I32),
            Self::Bf16 | Self::F16 => ElemType::Float(FloatKind::F32),
        }
    }

    /// Types in `mma`'s order: sum, left, right, sum.
    fn mma_types(self) -> &'static str {
        match self {
            Self::Int8 => "m16n8k32.row.col.s32.s8.s8.s32",
            Self::Bf16 => "m16n8k16.row.col.f32.bf16.bf16.f32",
            Self::F16 => "m16n8k16.row.col.f32.f16.f16.f32",
        }
    }
}

/// `x` as PTX takes it: what PTX gave is a variable, of which an operand would be the address.
#[cube]
#[allow(
    clippy::identity_op,
    reason = "the sum is a value, the summand may be none"
)]
pub(crate) fn operand(x: u32) -> u32 {
    x + 0u32
}

/// Address of shared memory as PTX's `.shared` instructions take it.
#[cube]
pub(crate) fn shared_address<T: CubePrimitive>(memory: &[T]) -> u32 {
    // SAFETY: only the address is taken.
    let pointer = unsafe { memory.as_ptr_unchecked() };
    let address: u32;
    gpu_asm!(
        "{{ .reg .u64 t; cvta.to.shared.u64 t, {pointer}; cvt.u32.u64 {address}, t; }}",
        pointer = in(_) pointer,
        address = out(_) address,
        options(nomem),
    );
    address
}

/// Address of a buffer as PTX's `.global` instructions take it.
#[cube]
pub(crate) fn global_address<T: CubePrimitive>(memory: &[T]) -> u64 {
    // SAFETY: only the address is taken.
    let pointer = unsafe { memory.as_ptr_unchecked() };
    let address: u64;
    gpu_asm!(
        "cvta.to.global.u64 {address}, {pointer};",
        pointer = in(_) pointer,
        address = out(_) address,
        options(nomem),
    );
    address
}

/// 16 bytes of global memory that no unit of this cube reads again: they take no place in L1.
#[cube]
pub(crate) fn load_once(global: u64) -> Vector<u32, Const<4>> {
    let out: Vector<u32, Const<4>>;
    gpu_asm!(
        "ld.global.L1::no_allocate.v4.u32 {out}, [{global}];",
        out = out(_) out,
        global = in(_) global,
    );
    out
}

/// 16 bytes of global memory.
#[cube]
pub(crate) fn load_global(global: u64) -> Vector<u32, Const<4>> {
    let out: Vector<u32, Const<4>>;
    gpu_asm!("ld.global.v4.u32 {out}, [{global}];", out = out(_) out, global = in(_) global);
    out
}

/// A float of global memory, loaded where this stands and not as late as it is needed.
#[cube]
pub(crate) fn load_early(global: u64) -> f32 {
    let out: f32;
    gpu_asm!("ld.global.f32 {out}, [{global}];", out = out(_) out, global = in(_) global);
    out
}

/// Asks for the line of L2 that holds `global`.
#[cube]
pub(crate) fn prefetch(global: u64) {
    gpu_asm!("prefetch.global.L2 [{global}];", global = in(_) global);
}

/// Starts the copy of 16 bytes from global to shared memory, past L1; bytes from `valid` on are
/// zero, and nothing is read for them. Both addresses are multiples of 16.
#[cube]
pub(crate) fn copy_async(shared: u32, global: u64, valid: u32) {
    gpu_asm!(
        "cp.async.cg.shared.global [{shared}], [{global}], 16, {valid};",
        shared = in(_) shared,
        global = in(_) global,
        valid = in(_) valid,
    );
}

/// Closes a group of copies.
#[cube]
pub(crate) fn copy_async_commit() {
    gpu_asm!("cp.async.commit_group;");
}

/// Waits until at most `pending` groups of copies of this unit are under way.
#[cube]
pub(crate) fn copy_async_wait(#[comptime] pending: usize) {
    gpu_asm!("cp.async.wait_group {pending};");
}

/// Four 8×16-byte matrices of shared memory as `mma` operands; lane `l` gives the address of row
/// `l mod 8` of matrix `l div 8`.
#[cube]
pub(crate) fn load_matrices(address: u32) -> Vector<u32, Const<4>> {
    let out: Vector<u32, Const<4>>;
    gpu_asm!(
        "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {out}, [{address}];",
        out = out(_) out,
        address = in(_) address,
    );
    out
}

/// As [`load_matrices`], each matrix transposed.
#[cube]
pub(crate) fn load_matrices_transposed(address: u32) -> Vector<u32, Const<4>> {
    let out: Vector<u32, Const<4>>;
    gpu_asm!(
        "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {out}, [{address}];",
        out = out(_) out,
        address = in(_) address,
    );
    out
}

/// `2^x`, off by at most 2 ulp; 0 for very small x.
#[cube]
pub(crate) fn exp2(x: f32) -> f32 {
    let out: f32;
    gpu_asm!(
        "ex2.approx.ftz.f32 {out}, {x};",
        out = out(_) out,
        x = in(_) x,
        options(nomem),
    );
    out
}

/// Two floats rounded to half precision, `low` in the low half.
#[cube]
pub(crate) fn pack_half(low: f32, high: f32, #[comptime] types: MmaType) -> u32 {
    let name = comptime!(if types == MmaType::F16 {
        "f16x2"
    } else {
        "bf16x2"
    });
    let out: u32;
    gpu_asm!(
        "cvt.rn.{name}.f32 {out}, {high}, {low};",
        out = out(_) out,
        high = in(_) high,
        low = in(_) low,
        options(nomem),
    );
    out
}

/// `acc + a · b` of a warp: `m16n8k32` for int8, `m16n8k16` for the others.
#[cube]
#[allow(clippy::too_many_arguments, reason = "the registers of an instruction")]
pub(crate) fn mma<A: Numeric>(
    a0: u32,
    a1: u32,
    a2: u32,
    a3: u32,
    b0: u32,
    b1: u32,
    acc: Vector<A, Const<4>>,
    #[comptime] types: MmaType,
) -> Vector<A, Const<4>> {
    let types = comptime!(types.mma_types());
    let c0 = acc.extract(0usize);
    let c1 = acc.extract(1usize);
    let c2 = acc.extract(2usize);
    let c3 = acc.extract(3usize);
    let out: Vector<A, Const<4>>;
    gpu_asm!(
        "mma.sync.aligned.{types} {out}, {{{a0}, {a1}, {a2}, {a3}}}, {{{b0}, {b1}}}, \
         {{{c0}, {c1}, {c2}, {c3}}};",
        out = out(_) out,
        a0 = in(_) a0, a1 = in(_) a1, a2 = in(_) a2, a3 = in(_) a3,
        b0 = in(_) b0, b1 = in(_) b1,
        c0 = in(_) c0, c1 = in(_) c1, c2 = in(_) c2, c3 = in(_) c3,
        options(nomem),
    );
    out
}

/// As [`arrive_cluster`], of a unit that has written nothing yet.
#[cube]
pub(crate) fn announce_cluster() {
    gpu_asm!("barrier.cluster.arrive.relaxed.aligned;");
}

/// Tells the other cubes of the cluster that this unit came here, and that what it wrote to shared
/// memory is there. Each needs its [`wait_cluster`] before the next.
#[cube]
pub(crate) fn arrive_cluster() {
    gpu_asm!("barrier.cluster.arrive.release.aligned;");
}

/// Waits until every unit of the cluster has arrived; what they wrote before is seen after.
#[cube]
pub(crate) fn wait_cluster() {
    gpu_asm!("barrier.cluster.wait.acquire.aligned;");
}

/// Puts 16 bytes into the shared memory of cube `rank` of the cluster, at what is `address` here.
#[cube]
pub(crate) fn store_cluster(address: u32, #[comptime] rank: u32, a: u32, b: u32, c: u32, d: u32) {
    gpu_asm!(
        "{{ .reg .u32 t; mapa.shared::cluster.u32 t, {address}, {rank}; \
         st.shared::cluster.v4.u32 [t], {{{a}, {b}, {c}, {d}}}; }}",
        address = in(_) address,
        rank = const rank,
        a = in(_) a, b = in(_) b, c = in(_) c, d = in(_) d,
    );
}

/// Registers of the units that multiply, and of those that only copy, in a cube of two warpgroups of the
/// former and one of the latter.
pub(crate) const REGISTERS: [u32; 2] = [232, 40];

// A cube of 384 units starts with 168 registers a unit.
const _: () = assert!(256 * REGISTERS[0] + 128 * REGISTERS[1] <= 384 * 168);

/// Takes registers from the cube's pool, up to `count` a unit; all of a warpgroup do.
#[cube]
pub(crate) fn take_registers(#[comptime] count: u32) {
    gpu_asm!("setmaxnreg.inc.sync.aligned.u32 {count};", count = const count);
}

/// Gives registers to the cube's pool, down to `count` a unit; all of a warpgroup do.
#[cube]
pub(crate) fn give_registers(#[comptime] count: u32) {
    gpu_asm!("setmaxnreg.dec.sync.aligned.u32 {count};", count = const count);
}

/// Keeps a cube until all of its cluster are done with its memory; units of a warp may come one by one.
#[cube]
pub(crate) fn leave_cluster() {
    gpu_asm!("barrier.cluster.arrive.release; barrier.cluster.wait.acquire;");
}

/// 16 bytes of shared memory.
#[cube]
pub(crate) fn load_line(address: u32) -> Vector<u32, Const<4>> {
    let out: Vector<u32, Const<4>>;
    gpu_asm!(
        "ld.shared.v4.u32 {out}, [{address}];",
        out = out(_) out,
        address = in(_) address,
    );
    out
}

/// Puts 16 bytes into the shared memory of this cube.
#[cube]
pub(crate) fn store_line(address: u32, a: u32, b: u32, c: u32, d: u32) {
    let address = operand(address);
    gpu_asm!(
        "st.shared.v4.u32 [{address}], {{{a}, {b}, {c}, {d}}};",
        address = in(_) address,
        a = in(_) a, b = in(_) b, c = in(_) c, d = in(_) d,
    );
}

/// Puts a word into the shared memory of this cube.
#[cube]
pub(crate) fn store_word(address: u32, value: u32) {
    let (address, value) = (operand(address), operand(value));
    gpu_asm!(
        "st.shared.u32 [{address}], {value};",
        address = in(_) address,
        value = in(_) value,
    );
}

/// A word of the shared memory of this cube.
#[cube]
pub(crate) fn load_word(address: u32) -> u32 {
    let address = operand(address);
    let out: u32;
    gpu_asm!(
        "ld.shared.u32 {out}, [{address}];",
        out = out(_) out,
        address = in(_) address,
    );
    operand(out)
}

/// Makes the ordinary writes to this cube's shared memory that this unit did or saw such that the tensor
/// cores see them: they read past the ordinary path.
#[cube]
pub(crate) fn show_tensor_cores() {
    gpu_asm!("fence.proxy.async.shared::cta;");
}

/// Two neighbouring f32 of shared memory.
#[cube]
pub(crate) fn load_floats(address: u32) -> Vector<f32, Const<2>> {
    let out: Vector<f32, Const<2>>;
    gpu_asm!(
        "ld.shared.v2.f32 {out}, [{address}];",
        out = out(_) out,
        address = in(_) address,
    );
    out
}

/// Four int8, given with 128 added, times four scales, each product rounded once to half precision:
/// bytes 0 and 1 in the first register, 2 and 3 in the second. A byte becomes a float in the mantissa
/// of 2²³.
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

/// Four floats times `a`, each product rounded to f32 and then to the nearest integer, ties to even, as
/// int8 in the order of the bytes; `|value · a|` is below 2²². The sum of a product and 1.5·2²³ has its
/// last bit at 1, so that the addition rounds, and the low bits of the mantissa are the integer: two
/// cheap instructions instead of two slow conversions.
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

/// Register `register` (0..4) of the int8 fragment of a word: 64·w for ternary codes, 32·v for the
/// four levels.
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

/// Register `register` (0..8) of the half fragments of a word: 2·w for ternary codes, v/2 for the
/// four levels. The top two bits of ±2.0 are those of the two's complement code; a level goes
/// through the mantissa of 64.
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
            // Bit that is worth 1.0 next to 64.0: 7 mantissa bits in bf16, 10 in f16.
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
