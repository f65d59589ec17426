//! The hardware side: permission, tile configuration and the multiplication itself.
//!
//! Rust has no stable intrinsics for AMX, so one block of inline assembly configures the tiles,
//! runs the loop over the inputs and releases the tiles; no tile state outlives the block.

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};

use crate::planes::PLANE;

/// Rows, and tokens, of a tile.
pub(super) const SIDE: usize = 16;

/// A tile of bytes, or of 16 × 16 i32.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(super) struct Tile(pub(super) [u8; 1024]);

pub(super) const EMPTY: Tile = Tile([0; 1024]);

/// `sums[g][h] += weights[.][h] · tokens[g]` for one or two groups of 16 tokens and two tiles of
/// rows: `weights` is `[step][row / 16]`, each group `[step]`, `sums` `[group][row / 16]`.
pub(super) type Multiply = unsafe fn(weights: &[Tile], groups: [&[Tile]; 2], sums: &mut [Tile]);

/// Whether the processor has AMX int8 and the kernel lets this process use it, after asking for
/// the permission.
pub(crate) fn enable() -> bool {
    const AMX_TILE: u32 = 1 << 24;
    const AMX_INT8: u32 = 1 << 25;
    const OSXSAVE: u32 = 1 << 27;
    const TILE_STATE: u32 = 0b11 << 17;
    if __cpuid(0).eax < 7 || __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    let features = __cpuid_count(7, 0).edx;
    if features & AMX_TILE == 0 || features & AMX_INT8 == 0 {
        return false;
    }
    let state: u32;
    // SAFETY: OSXSAVE says that xgetbv exists; it reads register 0 of the extended states.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") state, out("edx") _, options(nomem, nostack));
    }
    state & TILE_STATE == TILE_STATE && request_permission()
}

/// Asks Linux for the tile data state, for all threads of the process.
#[cfg(target_os = "linux")]
fn request_permission() -> bool {
    const SYS_ARCH_PRCTL: isize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const XFEATURE_XTILEDATA: usize = 18;
    let result: isize;
    // SAFETY: a system call without pointers; it clobbers rcx and r11 only.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") SYS_ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn request_permission() -> bool {
    false
}

/// Palette 1 with all eight tiles of 16 rows by 64 bytes.
#[repr(C, align(64))]
struct Config([u8; 64]);

static CONFIG: Config = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = PLANE as u8;
        bytes[48 + tile] = SIDE as u8;
        tile += 1;
    }
    Config(bytes)
};

/// [`Multiply`] in hardware.
///
/// # Safety
/// AMX int8 is available and permitted; there is at least one step, `weights` has two tiles a
/// step, each group one, and `sums` 4, or 2 for a single group.
pub(super) unsafe fn multiply(weights: &[Tile], groups: [&[Tile]; 2], sums: &mut [Tile]) {
    // SAFETY: the caller's promise.
    unsafe {
        match sums.len() {
            4 => multiply_2x2(weights, groups[0], groups[1], sums),
            _ => multiply_2x1(weights, groups[0], sums),
        }
    }
}

/// Two groups.
///
/// # Safety
/// As [`multiply`].
unsafe fn multiply_2x2(weights: &[Tile], left: &[Tile], right: &[Tile], sums: &mut [Tile]) {
    // SAFETY: reads and writes what the caller promised, and releases the tiles it configured.
    unsafe {
        asm!(
            "ldtilecfg [{config}]",
            "tileloadd tmm0, [{sums} + {stride}]",
            "tileloadd tmm1, [{sums} + {stride} + 1024]",
            "tileloadd tmm2, [{sums} + {stride} + 2048]",
            "tileloadd tmm3, [{sums} + {stride} + 3072]",
            "2:",
            "tileloadd tmm4, [{weights} + {stride}]",
            "tileloadd tmm6, [{left} + {stride}]",
            "tdpbusd tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{weights} + {stride} + 1024]",
            "tdpbusd tmm1, tmm5, tmm6",
            "tileloadd tmm7, [{right} + {stride}]",
            "tdpbusd tmm2, tmm4, tmm7",
            "tdpbusd tmm3, tmm5, tmm7",
            "add {weights}, 2048",
            "add {left}, 1024",
            "add {right}, 1024",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{sums} + {stride}], tmm0",
            "tilestored [{sums} + {stride} + 1024], tmm1",
            "tilestored [{sums} + {stride} + 2048], tmm2",
            "tilestored [{sums} + {stride} + 3072], tmm3",
            "tilerelease",
            config = in(reg) &CONFIG,
            sums = in(reg) sums.as_mut_ptr(),
            weights = inout(reg) weights.as_ptr() => _,
            left = inout(reg) left.as_ptr() => _,
            right = inout(reg) right.as_ptr() => _,
            steps = inout(reg) left.len() => _,
            stride = in(reg) PLANE,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// One group.
///
/// # Safety
/// As [`multiply`].
unsafe fn multiply_2x1(weights: &[Tile], tokens: &[Tile], sums: &mut [Tile]) {
    // SAFETY: reads and writes what the caller promised, and releases the tiles it configured.
    unsafe {
        asm!(
            "ldtilecfg [{config}]",
            "tileloadd tmm0, [{sums} + {stride}]",
            "tileloadd tmm1, [{sums} + {stride} + 1024]",
            "2:",
            "tileloadd tmm4, [{weights} + {stride}]",
            "tileloadd tmm6, [{tokens} + {stride}]",
            "tdpbusd tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{weights} + {stride} + 1024]",
            "tdpbusd tmm1, tmm5, tmm6",
            "add {weights}, 2048",
            "add {tokens}, 1024",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{sums} + {stride}], tmm0",
            "tilestored [{sums} + {stride} + 1024], tmm1",
            "tilerelease",
            config = in(reg) &CONFIG,
            sums = in(reg) sums.as_mut_ptr(),
            weights = inout(reg) weights.as_ptr() => _,
            tokens = inout(reg) tokens.as_ptr() => _,
            steps = inout(reg) tokens.len() => _,
            stride = in(reg) PLANE,
            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm5") _, out("tmm6") _,
            options(nostack),
        );
    }
}
