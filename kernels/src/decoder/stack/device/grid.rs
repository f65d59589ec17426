//! How the cubes of a stack wait for each other: counters in global memory, which only grow.
//!
//! | word | what |
//! |---|---|
//! | 0 | not 0 once a cube has waited too long: results are NaN from then on |
//! | 1, 2 | what the counters of products and of attention hold when a launch begins |
//! | 32, 64, 96, 128 | cubes that have finished q\|k\|v, output, gate and up, down |
//! | 160 | heads whose attention is merged |
//! | 256 … | cubes of a head of keys and values that have left their sums |

use cubecl::prelude::*;

use crate::device_code::ptx::temporary;

pub(in super::super) const FAILED: usize = 0;
pub(super) const PRODUCTS_BEGIN: usize = 1;
pub(super) const HEADS_BEGIN: usize = 2;
pub(super) const QKV: usize = 32;
pub(super) const OUTPUT: usize = 64;
pub(super) const GATE_UP: usize = 96;
pub(super) const DOWN: usize = 128;
pub(super) const HEADS: usize = 160;
pub(super) const SHARES: usize = 256;

/// Looks at a counter before a cube gives up: some seconds.
const PATIENCE: u32 = 1 << 22;

/// Waits until the counter at `address` has reached `target`, and acquires what was released to it. 0 if it
/// has not after [`PATIENCE`] looks. Differences of counters that have wrapped around are right.
#[cube]
fn reached(address: u64, target: u32) -> u32 {
    let target = temporary(target);
    let out: u32;
    gpu_asm!(
        "{{ .reg .pred p, q; .reg .b32 v, n; mov.u32 n, 0; ",
        "again: ld.acquire.gpu.global.u32 v, [{address}]; sub.s32 v, v, {target}; ",
        "setp.ge.s32 p, v, 0; @p bra done; add.u32 n, n, 1; setp.lt.u32 q, n, {patience}; ",
        "@q bra again; done: selp.u32 {out}, 1, 0, p; }}",
        out = out(_) out,
        address = in(_) address,
        target = in(_) target,
        patience = const PATIENCE,
    );
    out
}

/// Waits, as a cube, until counter `index` has reached `target`. `failed` is this cube's flag in shared
/// memory: a cube that has given up once waits no more.
#[cube]
pub(super) fn wait(counters: u64, #[comptime] index: usize, target: u32, failed: &mut [u32]) {
    if UNIT_POS == 0 && failed[0] == 0u32 {
        let address = counters + comptime!(4 * index as u64).runtime();
        if reached(address, target) == 0u32 {
            failed[0] = 1u32;
        }
    }
    sync_cube();
}

/// Adds one to counter `index`, and releases what this unit has written and has seen others write. One unit
/// calls it, after a barrier.
#[cube]
pub(super) fn arrive(counters: u64, #[comptime] index: usize) {
    let address = counters + comptime!(4 * index as u64).runtime();
    gpu_asm!(
        "{{ fence.acq_rel.gpu; red.relaxed.gpu.global.add.u32 [{address}], 1; }}",
        address = in(_) address,
    );
}

/// Adds one to the counter at `address` and returns what it was; acquires and releases.
#[cube]
pub(super) fn count(address: u64) -> u32 {
    let out: u32;
    gpu_asm!(
        "{{ fence.acq_rel.gpu; atom.relaxed.gpu.global.add.u32 {out}, [{address}], 1; fence.acq_rel.gpu; }}",
        out = out(_) out,
        address = in(_) address,
    );
    temporary(out)
}

/// Loads a word of global memory that another cube may have written.
#[cube]
pub(super) fn load_word(address: u64) -> u32 {
    let out: u32;
    gpu_asm!(
        "ld.relaxed.gpu.global.u32 {out}, [{address}];",
        out = out(_) out,
        address = in(_) address,
    );
    temporary(out)
}

/// Stores a word of global memory.
#[cube]
pub(super) fn store_word(address: u64, value: u32) {
    let value = temporary(value);
    gpu_asm!(
        "st.relaxed.gpu.global.u32 [{address}], {value};",
        address = in(_) address,
        value = in(_) value,
    );
}

/// Loads 16 bytes of global memory that another cube may have written.
#[cube]
pub(super) fn load_line(address: u64) -> Vector<u32, Const<4>> {
    let out: Vector<u32, Const<4>>;
    gpu_asm!(
        "ld.relaxed.gpu.global.v4.u32 {out}, [{address}];",
        out = out(_) out,
        address = in(_) address,
    );
    out
}
