//! The barrier of a cluster, and stores to the shared memory of its other cubes.

use cubecl::prelude::*;

/// [`arrive_cluster`] without release semantics: for a unit that has written nothing that others
/// read.
#[cube]
pub(crate) fn arrive_cluster_relaxed() {
    gpu_asm!("barrier.cluster.arrive.relaxed.aligned;");
}

/// Arrives at the cluster's barrier with release semantics: this unit's earlier writes are visible
/// to every unit after its [`wait_cluster`]. Every arrival needs a wait before the next arrival.
#[cube]
pub(crate) fn arrive_cluster() {
    gpu_asm!("barrier.cluster.arrive.release.aligned;");
}

/// Waits until every unit of the cluster has arrived, with acquire semantics.
#[cube]
pub(crate) fn wait_cluster() {
    gpu_asm!("barrier.cluster.wait.acquire.aligned;");
}

/// Stores 16 bytes at `address` in the shared memory of cube `rank` of the cluster.
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

/// Synchronises the cluster before a cube exits, as others may still access its shared memory.
/// Lanes of a warp may arrive one by one.
#[cube]
pub(crate) fn leave_cluster() {
    gpu_asm!("barrier.cluster.arrive.release; barrier.cluster.wait.acquire;");
}
