//! Asynchronous stores to the shared memory of other cubes of a cluster (`st.async`).
//!
//! A release at the cluster's barrier would wait for all outstanding memory operations of a unit,
//! prefetched weights included. Instead, each store signals an `mbarrier` in the destination's
//! shared memory, and the reader waits until the expected number of bytes has arrived.

use cubecl::prelude::*;

use crate::device_code::ptx::barrier::{
    expect_bytes, init_barrier, publish_barriers, wait_barrier,
};
use crate::device_code::ptx::temporary;

/// Maps a shared-memory address of this cube to the same address in cube `rank` (`mapa`). The
/// difference is the same for all addresses.
#[cube]
pub(super) fn peer_address(address: u32, rank: u32) -> u32 {
    let (address, rank) = (temporary(address), temporary(rank));
    let out: u32;
    gpu_asm!(
        "mapa.shared::cluster.u32 {out}, {address}, {rank};",
        out = out(_) out,
        address = in(_) address,
        rank = in(_) rank,
        options(nomem),
    );
    temporary(out)
}

/// Initialises a barrier at `address` (8 bytes) whose first phase completes once `bytes` bytes have
/// arrived. One unit calls this; other cubes may signal it after
/// [`arrive_cluster_relaxed`](crate::device_code::ptx::cluster::arrive_cluster_relaxed).
#[cube]
pub(super) fn init_byte_barrier(address: u32, bytes: u32) {
    init_barrier(address, 1u32);
    publish_barriers();
    expect_bytes(address, bytes);
}

/// Waits for the bytes that the barrier at `address` expects. The wait acquires at cube scope. The
/// PTX memory model asks for cluster scope, which would invalidate L1; it is not needed, because
/// counted bytes are already in this cube's shared memory, which is not cached.
#[cube]
pub(super) fn wait_bytes(address: u32) {
    wait_barrier(address, 0u32);
}

/// Stores 16 bytes at `peer`, and has `barrier` count them. Both are addresses from
/// [`peer_address`].
#[cube]
pub(super) fn send_line(peer: u32, barrier: u32, a: u32, b: u32, c: u32, d: u32) {
    let (peer, barrier) = (temporary(peer), temporary(barrier));
    gpu_asm!(
        "st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 ",
        "[{peer}], {{{a}, {b}, {c}, {d}}}, [{barrier}];",
        peer = in(_) peer,
        barrier = in(_) barrier,
        a = in(_) a, b = in(_) b, c = in(_) c, d = in(_) d,
    );
}

/// As [`send_line`], for one word.
#[cube]
pub(super) fn send_word(peer: u32, barrier: u32, value: u32) {
    let (peer, barrier, value) = (temporary(peer), temporary(barrier), temporary(value));
    gpu_asm!(
        "st.async.shared::cluster.mbarrier::complete_tx::bytes.b32 [{peer}], {value}, [{barrier}];",
        peer = in(_) peer,
        barrier = in(_) barrier,
        value = in(_) value,
    );
}
