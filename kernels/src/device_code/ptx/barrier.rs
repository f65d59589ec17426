//! Barriers in shared memory (PTX ISA, "mbarrier"). A phase completes once all arrivals and all
//! expected bytes of copies have been counted.

use cubecl::prelude::*;

use super::temporary;

/// Initialises a barrier at `address`, a multiple of 8, whose phases take `count` arrivals.
#[cube]
pub(crate) fn init_barrier(address: u32, #[comptime] count: u32) {
    let address = temporary(address);
    gpu_asm!(
        "mbarrier.init.shared::cta.b64 [{address}], {count};",
        address = in(_) address,
        count = const count,
    );
}

/// Makes the barriers that this unit initialised visible to the cluster and to the async proxy.
#[cube]
pub(crate) fn publish_barriers() {
    gpu_asm!("fence.mbarrier_init.release.cluster;");
}

/// Arrives, and adds `bytes` to the bytes that the current phase expects.
#[cube]
pub(crate) fn expect_bytes(address: u32, bytes: u32) {
    let (address, bytes) = (temporary(address), temporary(bytes));
    gpu_asm!(
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [{address}], {bytes};",
        address = in(_) address,
        bytes = in(_) bytes,
    );
}

/// Arrives at the barrier at `address` in cube `rank` of the cluster, unless `wanted` is 0.
/// Predicated, because a branch between wgmmas makes the compiler serialise them. Not a release:
/// the unit's reads of the guarded memory must be complete, and its writes are not published.
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

/// Waits until the phase of the given parity is complete. In a new barrier the phase of parity 1
/// counts as complete.
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
