//! PTX instructions that CubeCL does not expose.
//!
//! Only kernels that a plan chose for a device with [`CudaFacts`](crate::device::CudaFacts) contain
//! them.

use cubecl::prelude::*;

use super::mma_type::MmaType;

pub(crate) mod barrier;
pub(crate) mod bulk;
pub(crate) mod cluster;
pub(crate) mod lines;
pub(crate) mod registers;

/// Copies `x` into a temporary. `gpu_asm!` would otherwise pass the address of a variable that
/// another `gpu_asm!` wrote.
#[cube]
#[allow(
    clippy::identity_op,
    reason = "the sum is a new value, which is all that is wanted"
)]
pub(crate) fn temporary(x: u32) -> u32 {
    x + 0u32
}

/// Address of `memory` in the `.shared` state space.
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

/// Address of `memory` in the `.global` state space.
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

/// As [`global_address`], of memory that is written.
#[cube]
pub(crate) fn global_address_mut<T: CubePrimitive>(memory: &mut [T]) -> u64 {
    // SAFETY: only the address is taken.
    let pointer = unsafe { memory.as_mut_ptr_unchecked() };
    let address: u64;
    gpu_asm!(
        "cvta.to.global.u64 {address}, {pointer};",
        pointer = in(_) pointer,
        address = out(_) address,
        options(nomem),
    );
    address
}

/// Loads 16 bytes of global memory without allocating a line of L1: for data that this cube reads
/// once.
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

/// Loads 16 bytes of global memory.
#[cube]
pub(crate) fn load_global(global: u64) -> Vector<u32, Const<4>> {
    let out: Vector<u32, Const<4>>;
    gpu_asm!("ld.global.v4.u32 {out}, [{global}];", out = out(_) out, global = in(_) global);
    out
}

/// Loads a float of global memory at this point of the program. The compiler may sink an ordinary load to
/// its first use.
#[cube]
pub(crate) fn load_early(global: u64) -> f32 {
    let out: f32;
    gpu_asm!("ld.global.f32 {out}, [{global}];", out = out(_) out, global = in(_) global);
    out
}

/// Prefetches the cache line of `global` into L2.
#[cube]
pub(crate) fn prefetch(global: u64) {
    gpu_asm!("prefetch.global.L2 [{global}];", global = in(_) global);
}

/// `cp.async.cg`: starts copying 16 bytes from global to shared memory, bypassing L1. Only the
/// first `valid` bytes are read; the rest become zero. Both addresses are multiples of 16.
#[cube]
pub(crate) fn copy_async(shared: u32, global: u64, valid: u32) {
    gpu_asm!(
        "cp.async.cg.shared.global [{shared}], [{global}], 16, {valid};",
        shared = in(_) shared,
        global = in(_) global,
        valid = in(_) valid,
    );
}

/// Closes the current group of asynchronous copies of this unit.
#[cube]
pub(crate) fn copy_async_commit() {
    gpu_asm!("cp.async.commit_group;");
}

/// Waits until at most `pending` groups of asynchronous copies of this unit are incomplete.
#[cube]
pub(crate) fn copy_async_wait(#[comptime] pending: usize) {
    gpu_asm!("cp.async.wait_group {pending};");
}

/// `ldmatrix`: loads four matrices of 8 rows × 16 bytes as `mma` operands. Lane `l` passes the
/// address of row `l mod 8` of matrix `l div 8`.
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

/// `2^x` with an error of at most 2 ulp; subnormal results become 0.
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

/// Rounds two floats to half precision and packs them, `low` in the low half.
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

/// `acc + a · b` for a warp: `m16n8k32` for int8, `m16n8k16` for the half types.
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

/// Loads 16 bytes of shared memory.
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

/// Stores 16 bytes in this cube's shared memory.
#[cube]
pub(crate) fn store_line(address: u32, a: u32, b: u32, c: u32, d: u32) {
    let address = temporary(address);
    gpu_asm!(
        "st.shared.v4.u32 [{address}], {{{a}, {b}, {c}, {d}}};",
        address = in(_) address,
        a = in(_) a, b = in(_) b, c = in(_) c, d = in(_) d,
    );
}

/// Stores a word in this cube's shared memory.
#[cube]
pub(crate) fn store_word(address: u32, value: u32) {
    let (address, value) = (temporary(address), temporary(value));
    gpu_asm!(
        "st.shared.u32 [{address}], {value};",
        address = in(_) address,
        value = in(_) value,
    );
}

/// Loads a word of this cube's shared memory.
#[cube]
pub(crate) fn load_word(address: u32) -> u32 {
    let address = temporary(address);
    let out: u32;
    gpu_asm!(
        "ld.shared.u32 {out}, [{address}];",
        out = out(_) out,
        address = in(_) address,
    );
    temporary(out)
}

/// `fence.proxy.async`: makes generic-proxy writes to shared memory, by this unit or observed by
/// it, visible to the async proxy, through which `wgmma` and TMA access it.
#[cube]
pub(crate) fn fence_async_proxy() {
    gpu_asm!("fence.proxy.async.shared::cta;");
}

/// Loads two adjacent f32 of shared memory.
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
