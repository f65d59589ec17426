//! Redistribution of registers between the warpgroups of a cube (PTX ISA, "setmaxnreg").

use cubecl::prelude::*;

/// Registers per unit of the two consumer warpgroups, which multiply, and of the producer
/// warpgroup, which copies.
pub(crate) const REGISTERS: [u32; 2] = [232, 40];

// A cube of 384 units is launched with 168 registers a unit.
const _: () = assert!(256 * REGISTERS[0] + 128 * REGISTERS[1] <= 384 * 168);

/// Raises the registers of this warpgroup to `count` a unit. All its warps execute it.
#[cube]
pub(crate) fn raise_registers(#[comptime] count: u32) {
    gpu_asm!("setmaxnreg.inc.sync.aligned.u32 {count};", count = const count);
}

/// Lowers the registers of this warpgroup to `count` a unit. All its warps execute it.
#[cube]
pub(crate) fn lower_registers(#[comptime] count: u32) {
    gpu_asm!("setmaxnreg.dec.sync.aligned.u32 {count};", count = const count);
}
