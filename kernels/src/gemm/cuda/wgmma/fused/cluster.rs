//! The shared memory of the other cubes of a cluster.

use cubecl::prelude::*;

/// Where what lies at `address` here lies in cube `rank` of the cluster.
#[cube]
pub(super) fn peer_address(address: u32, rank: u32) -> u32 {
    let out: u32;
    gpu_asm!(
        "mapa.shared::cluster.u32 {out}, {address}, {rank};",
        out = out(_) out,
        address = in(_) address,
        rank = in(_) rank,
        options(nomem),
    );
    out
}

/// Puts 16 bytes where [`peer_address`] says.
#[cube]
pub(super) fn store_peer_line(peer: u32, a: u32, b: u32, c: u32, d: u32) {
    gpu_asm!(
        "st.shared::cluster.v4.u32 [{peer}], {{{a}, {b}, {c}, {d}}};",
        peer = in(_) peer,
        a = in(_) a, b = in(_) b, c = in(_) c, d = in(_) d,
    );
}

/// Puts a word where [`peer_address`] says.
#[cube]
pub(super) fn store_peer_word(peer: u32, value: u32) {
    gpu_asm!(
        "st.shared::cluster.u32 [{peer}], {value};",
        peer = in(_) peer,
        value = in(_) value,
    );
}

/// Puts 16 bytes into the shared memory of this cube.
#[cube]
pub(super) fn store_line(address: u32, a: u32, b: u32, c: u32, d: u32) {
    gpu_asm!(
        "st.shared.v4.u32 [{address}], {{{a}, {b}, {c}, {d}}};",
        address = in(_) address,
        a = in(_) a, b = in(_) b, c = in(_) c, d = in(_) d,
    );
}

/// A word of the shared memory of this cube.
#[cube]
pub(super) fn load_word(address: u32) -> u32 {
    let out: u32;
    gpu_asm!(
        "ld.shared.u32 {out}, [{address}];",
        out = out(_) out,
        address = in(_) address,
    );
    out
}

/// The largest `value` of a warp, all of whose lanes are here.
#[cube]
pub(super) fn largest_of_warp(value: u32) -> u32 {
    let out: u32;
    gpu_asm!(
        "redux.sync.max.u32 {out}, {value}, 0xffffffff;",
        out = out(_) out,
        value = in(_) value,
        options(nomem),
    );
    out
}

/// Makes ordinary writes to shared memory, this cube's or another's, those that the tensor cores see:
/// they read past the ordinary path. Before the barrier where they were written, after it where they are
/// read.
#[cube]
pub(super) fn show_tensor_cores() {
    gpu_asm!("fence.proxy.async;");
}
