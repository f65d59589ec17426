//! How the warpgroups of a cube share its registers.

use cubecl::prelude::*;

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
