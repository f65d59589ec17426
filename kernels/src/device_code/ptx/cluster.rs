//! Cubes of a cluster: their barrier, and stores to each other's shared memory.

use cubecl::prelude::*;

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

/// Keeps a cube until all of its cluster are done with its memory; units of a warp may come one by one.
#[cube]
pub(crate) fn leave_cluster() {
    gpu_asm!("barrier.cluster.arrive.release; barrier.cluster.wait.acquire;");
}
