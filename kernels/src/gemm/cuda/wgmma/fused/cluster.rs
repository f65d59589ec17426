//! The shared memory of the other cubes of a cluster, and stores to it that count themselves.
//!
//! A barrier of the cluster that makes stores visible waits for all memory traffic of a unit, weights on
//! their way included. Here a store tells a barrier in the memory it goes to how many bytes came
//! (`st.async` with `mbarrier`), and the reader waits for the bytes that it expects.

use cubecl::prelude::*;

/// `x` as PTX takes it: what PTX gave is a variable, of which an operand would be the address.
#[cube]
#[allow(
    clippy::identity_op,
    reason = "the sum is a value, the summand may be none"
)]
pub(super) fn operand(x: u32) -> u32 {
    x + 0u32
}

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
/// the cluster after [`announce_cluster`](crate::ptx::announce_cluster). One unit does so.
#[cube]
pub(super) fn expect_bytes(address: u32, bytes: u32) {
    let (address, bytes) = (operand(address), operand(bytes));
    gpu_asm!(
        "mbarrier.init.shared::cta.b64 [{address}], 1; fence.mbarrier_init.release.cluster; ",
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [{address}], {bytes};",
        address = in(_) address,
        bytes = in(_) bytes,
    );
}

/// Waits for the bytes that the barrier at `address` expects, and sees them.
#[cube]
pub(super) fn wait_bytes(address: u32) {
    let address = operand(address);
    gpu_asm!(
        "{{ .reg .pred p; again: ",
        "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [{address}], 0; ",
        "@!p bra again; }}",
        address = in(_) address,
    );
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

/// Puts 16 bytes into the shared memory of this cube.
#[cube]
pub(super) fn store_line(address: u32, a: u32, b: u32, c: u32, d: u32) {
    let address = operand(address);
    gpu_asm!(
        "st.shared.v4.u32 [{address}], {{{a}, {b}, {c}, {d}}};",
        address = in(_) address,
        a = in(_) a, b = in(_) b, c = in(_) c, d = in(_) d,
    );
}

/// Puts a word into the shared memory of this cube.
#[cube]
pub(super) fn store_word(address: u32, value: u32) {
    let (address, value) = (operand(address), operand(value));
    gpu_asm!(
        "st.shared.u32 [{address}], {value};",
        address = in(_) address,
        value = in(_) value,
    );
}

/// A word of the shared memory of this cube.
#[cube]
pub(super) fn load_word(address: u32) -> u32 {
    let address = operand(address);
    let out: u32;
    gpu_asm!(
        "ld.shared.u32 {out}, [{address}];",
        out = out(_) out,
        address = in(_) address,
    );
    operand(out)
}

/// The largest `value` of a warp, all of whose lanes are here.
#[cube]
pub(super) fn largest_of_warp(value: u32) -> u32 {
    let value = operand(value);
    let out: u32;
    gpu_asm!(
        "redux.sync.max.u32 {out}, {value}, 0xffffffff;",
        out = out(_) out,
        value = in(_) value,
        options(nomem),
    );
    operand(out)
}

/// Makes the ordinary writes to this cube's shared memory that this unit did or saw such that the tensor
/// cores see them: they read past the ordinary path.
#[cube]
pub(super) fn show_tensor_cores() {
    gpu_asm!("fence.proxy.async.shared::cta;");
}
