//! The shared memory of the other cubes of a cluster, and stores to it that count themselves.
//!
//! A barrier of the cluster that makes stores visible waits for all memory traffic of a unit, weights on
//! their way included. Here a store tells a barrier in the memory it goes to how many bytes came
//! (`st.async` with `mbarrier`), and the reader waits for the bytes that it expects.

use cubecl::prelude::*;

use crate::device_code::ptx::barrier::{
    expect_bytes, init_barrier, publish_barriers, wait_barrier,
};
use crate::device_code::ptx::operand;

/// Where what lies at `address` here lies in cube `rank` of the cluster. All of a cube's shared memory
/// is as far away.
#[cube]
pub(super) fn peer_address(address: u32, rank: u32) -> u32 {
    let (address, rank) = (operand(address), operand(rank));
    let out: u32;
    gpu_asm!(
        "mapa.shared::cluster.u32 {out}, {address}, {rank};",
        out = out(_) out,
        address = in(_) address,
        rank = in(_) rank,
        options(nomem),
    );
    operand(out)
}

/// Makes the 8 bytes at `address` a barrier that lets pass once `bytes` have come, for every cube of
/// the cluster after [`announce_cluster`](crate::device_code::ptx::cluster::announce_cluster). One unit does so.
#[cube]
pub(super) fn await_bytes(address: u32, bytes: u32) {
    init_barrier(address, 1u32);
    publish_barriers();
    expect_bytes(address, bytes);
}

/// Waits for the bytes that the barrier at `address` expects. They are in this cube's memory once they
/// count, and no cache lies between: the wait acquires for this cube only, where the letter of the PTX
/// memory model asks for the cluster, which would throw L1 away.
#[cube]
pub(super) fn wait_bytes(address: u32) {
    wait_barrier(address, 0u32);
}

/// Sends 16 bytes to `peer`, an address from [`peer_address`] as is that of the `barrier` which counts
/// them.
#[cube]
pub(super) fn send_line(peer: u32, barrier: u32, a: u32, b: u32, c: u32, d: u32) {
    let (peer, barrier) = (operand(peer), operand(barrier));
    gpu_asm!(
        "st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 ",
        "[{peer}], {{{a}, {b}, {c}, {d}}}, [{barrier}];",
        peer = in(_) peer,
        barrier = in(_) barrier,
        a = in(_) a, b = in(_) b, c = in(_) c, d = in(_) d,
    );
}

/// Sends a word, as [`send_line`] does 16 bytes.
#[cube]
pub(super) fn send_word(peer: u32, barrier: u32, value: u32) {
    let (peer, barrier, value) = (operand(peer), operand(barrier), operand(value));
    gpu_asm!(
        "st.async.shared::cluster.mbarrier::complete_tx::bytes.b32 [{peer}], {value}, [{barrier}];",
        peer = in(_) peer,
        barrier = in(_) barrier,
        value = in(_) value,
    );
}
