//! Bulk copies, by address or by tensor map (TMA). One unit starts them for its cube, or for
//! several cubes of a cluster (PTX ISA, "cp.async.bulk").

use cubecl::prelude::*;

/// Prefetches the tensor map at `map` into the descriptor cache.
#[cube]
pub(crate) fn prefetch_map(map: u64) {
    gpu_asm!("prefetch.tensormap [{map}];", map = in(_) map);
}

/// Starts copying `bytes` bytes, a multiple of 16, from global to shared memory. `barrier` counts
/// them. Both addresses are multiples of 16.
#[cube]
pub(crate) fn copy_bulk(shared: u32, global: u64, #[comptime] bytes: u32, barrier: u32) {
    gpu_asm!(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes \
         [{shared}], [{global}], {bytes}, [{barrier}];",
        shared = in(_) shared,
        global = in(_) global,
        bytes = const bytes,
        barrier = in(_) barrier,
    );
}

/// Multicast: starts copying the tile at element (`row`, `column`) of the matrix of `map`. It is
/// written at `shared` in each of the first `cubes` cubes of the cluster, and each cube's own
/// `barrier` counts the bytes. Elements outside of the matrix are zero.
#[cube]
pub(crate) fn copy_tile(
    shared: u32,
    map: u64,
    row: u32,
    column: u32,
    barrier: u32,
    #[comptime] cubes: u32,
) {
    let mask = comptime!((1u32 << cubes) - 1);
    gpu_asm!(
        "{{ .reg .u16 m; mov.u16 m, {mask}; \
         cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes\
         .multicast::cluster [{shared}], [{map}, {{{column}, {row}}}], [{barrier}], m; }}",
        mask = const mask,
        shared = in(_) shared,
        map = in(_) map,
        column = in(_) column,
        row = in(_) row,
        barrier = in(_) barrier,
    );
}

/// As [`copy_tile`], to this cube alone.
#[cube]
pub(crate) fn copy_own_tile(shared: u32, map: u64, row: u32, column: u32, barrier: u32) {
    gpu_asm!(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes \
         [{shared}], [{map}, {{{column}, {row}}}], [{barrier}];",
        shared = in(_) shared,
        map = in(_) map,
        column = in(_) column,
        row = in(_) row,
        barrier = in(_) barrier,
    );
}
