//! PTX instructions that CubeCL has no word for, and the decoding of fragment words.
//!
//! Only kernels that [`CudaFacts`](crate::device::CudaFacts) let through reach them.

use cubecl::prelude::*;

use super::mma_type::MmaType;

pub(crate) mod barrier;
pub(crate) mod bulk;
pub(crate) mod cluster;
pub(crate) mod lines;
pub(crate) mod registers;

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
