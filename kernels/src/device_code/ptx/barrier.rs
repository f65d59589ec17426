//! Barriers in shared memory (PTX ISA, "mbarrier"): they count arrivals, and bytes that copies bring.

use cubecl::prelude::*;

use super::operand;

/// Makes a barrier at `address`, a multiple of 8, that `count` arrivals complete.
#[cube]
pub(crate) fn init_barrier(address: u32, #[comptime] count: u32) {
    let address = operand(address);
    gpu_asm!(
        "mbarrier.init.shared::cta.b64 [{address}], {count};",
        address = in(_) address,
        count = const count,
    );
}

/// Lets the other cubes of the cluster, and copies, see the barriers that this unit made.
#[cube]
pub(crate) fn publish_barriers() {
    gpu_asm!("fence.mbarrier_init.release.cluster;");
}

/// Arrives, and has the barrier wait for `bytes` more of copies.
#[cube]
pub(crate) fn expect_bytes(address: u32, bytes: u32) {
    let (address, bytes) = (operand(address), operand(bytes));
    gpu_asm!(
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [{address}], {bytes};",
        address = in(_) address,
        bytes = in(_) bytes,
    );
}

/// Arrives at the barrier that cube `rank` of the cluster has where this one has `address`, if `wanted` is
/// not 0: a predicate, since a branch between products would have the compiler wait for each of them.
/// Reads of what the barrier guards must be over; nothing that this unit wrote is published.
#[cube]
pub(crate) fn arrive_barrier(address: u32, #[comptime] rank: u32, wanted: u32) {
    gpu_asm!(
        "{{ .reg .pred p; .reg .u32 t; setp.ne.u32 p, {wanted}, 0; \
         @p mapa.shared::cluster.u32 t, {address}, {rank}; \
         @p mbarrier.arrive.shared::cluster.b64 _, [t]; }}",
        address = in(_) address,
        rank = const rank,
        wanted = in(_) wanted,
    );
}

/// Waits until the phase of the given parity is complete. A new barrier counts its phase 1 as complete.
#[cube]
pub(crate) fn wait_barrier(address: u32, parity: u32) {
    gpu_asm!(
        "{{ .reg .pred p; again: \
         mbarrier.try_wait.parity.shared::cta.b64 p, [{address}], {parity}; \
         @!p bra again; }}",
        address = in(_) address,
        parity = in(_) parity,
    );
}
