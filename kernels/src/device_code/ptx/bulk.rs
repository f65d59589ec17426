//! Copies that one unit starts for its cube, or for several of a cluster (PTX ISA, "cp.async.bulk").

use cubecl::prelude::*;

/// Brings the tensor map at `map` into the cache of maps.
#[cube]
pub(crate) fn prefetch_map(map: u64) {
    gpu_asm!("prefetch.tensormap [{map}];", map = in(_) map);
}

/// Starts the copy of `bytes` bytes, a multiple of 16, from global to shared memory; they count at
/// `barrier`. Both addresses are multiples of 16.
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

/// Starts the copy of the tile that begins at element (`row`, `column`) of the matrix of `map` to
/// where the first `cubes` cubes of the cluster have `shared`; in each its bytes count at what is
/// `barrier` there. Elements outside of the matrix are zero.
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
