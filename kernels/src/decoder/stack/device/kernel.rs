//! The kernel of a stack.

use cubecl::prelude::*;

use super::super::addresses::{ENTRIES, entry};
use super::super::base::StackPlan;
use super::attend::{BLOCKS, Memory, Standing, attend_shares, load_angles, prefetch_share};
use super::handoff::{load_word, serial, store_word};
use super::product::{
    copy_words, load_scales, load_words, multiply_strips, prefetch_words, write_gated, write_rows,
};
use super::row::{load_gains, quantize_row};
use super::values::{copy_row, gated_values, half_values, store_row, stream_values};
use crate::decoder::norm::Source;
use crate::device_code::ptx::{global_address, global_address_mut, shared_address};

/// Runtime sizes.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(in super::super) struct StackExtents {
    /// Layers.
    pub layers: usize,
    /// Rows of the cache.
    pub batch: usize,
    /// Positions of a row of the cache.
    pub positions: usize,
    /// Blocks of the cache.
    pub blocks: usize,
    /// Rows of the rotary table.
    pub table_rows: usize,
    /// Added to the mean square.
    pub eps: f32,
    /// Factor of the scores.
    pub scale: f32,
}

/// The address that `index` names, of a layer.
#[cube]
fn address_of(addresses: &[u32], layer: usize, #[comptime] index: usize) -> u64 {
    let at = layer * comptime!(2 * ENTRIES) + comptime!(2 * index);
    u64::cast_from(addresses[at]) | (u64::cast_from(addresses[at + 1]) << 32u64)
}

#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(in super::super) fn stack<F: Float>(
    x: &[F],
    table: &[u32],
    rows: &[u32],
    positions: &[u32],
    blocks: &[u32],
    handed_on: &mut [u32],
    begin: &mut [u32],
    sum: &mut [F],
    delta: &mut [F],
    extents: StackExtents,
    #[comptime] plan: StackPlan,
    #[define(F)] _dtype: ElemType,
) {
    let (shape, cubes) = comptime!((plan.shape, plan.cubes));
    let (dtype, code) = comptime!((shape.dtype, shape.code));
    let (hidden, inner, width) = comptime!((plan.hidden_norm, plan.inner_norm, plan.width_norm));
    let unit = UNIT_POS as usize;
    let code_words = Shared::<[u32]>::new_aligned_slice(comptime!(plan.code_words()), 128usize);
    let mut sum_words = Shared::<[u32]>::new_aligned_slice(comptime!(plan.sum_words()), 128usize);
    let stream_words = Shared::<[u32]>::new_aligned_slice(comptime!(shape.hidden / 2), 128usize);
    let gate_up_words =
        Shared::<[u32]>::new_aligned_slice(comptime!(plan.gate_up.staged_words().max(4)), 128usize);
    let down_words =
        Shared::<[u32]>::new_aligned_slice(comptime!(plan.down.staged_words().max(4)), 128usize);
    let mut addresses = Shared::<[u32]>::new_slice(comptime!(2 * ENTRIES * StackPlan::MAX_LAYERS));
    let mut folds = Shared::<[u32]>::new_slice(64usize);
    let mut failed = Shared::<[u32]>::new_slice(1usize);
    let codes = shared_address::<u32>(&code_words);
    let warp_sums = shared_address::<u32>(&sum_words);
    let stream = shared_address::<u32>(&stream_words);
    let gate_up_stage = shared_address::<u32>(&gate_up_words);
    let down_stage = shared_address::<u32>(&down_words);

    let (x_at, sum_at, delta_at) = (
        global_address::<F>(x),
        global_address_mut::<F>(sum),
        global_address_mut::<F>(delta),
    );
    let memory_at = global_address_mut::<u32>(handed_on);
    let qkv_at = memory_at;
    let attended_at = memory_at + comptime!(8 * plan.handed_on()[1] as u64).runtime();
    let between_at = memory_at + comptime!(8 * plan.handed_on()[2] as u64).runtime();
    let gated_at = memory_at + comptime!(8 * plan.handed_on()[3] as u64).runtime();
    let down_at = memory_at + comptime!(8 * plan.handed_on()[4] as u64).runtime();
    let sums_at = memory_at + comptime!(8 * plan.handed_on()[5] as u64).runtime();

    // All cubes read it before they hand on anything, and the first one writes it once it has received from all.
    let begin_at = global_address_mut::<u32>(begin);
    let first_serial = load_word(begin_at + 0u64);
    if unit == 0 {
        failed[0] = 0u32;
    }
    let mut i = unit;
    while i < extents.layers * comptime!(2 * ENTRIES) {
        addresses[i] = table[i];
        i += comptime!(StackPlan::UNITS);
    }
    sync_cube();
    prefetch_words(
        address_of(&addresses, 0usize, entry::QKV),
        comptime!(plan.qkv),
        cubes,
    );
    prefetch_words(
        address_of(&addresses, 0usize, entry::OUTPUT),
        comptime!(plan.output),
        cubes,
    );

    let words = address_of(&addresses, 0usize, entry::GATE_UP);
    copy_words(words, gate_up_stage, true, comptime!(plan.gate_up), cubes);

    let position = usize::cast_from(positions[0]);
    let row = usize::cast_from(rows[0]);
    let len = min(position, extents.positions - 1) + 1;
    let wanted = (len + comptime!(plan.attention.share - 1)) / comptime!(plan.attention.share);
    let standing = Standing {
        row: min(row, extents.batch - 1),
        position,
        inside: position < extents.positions && row < extents.batch,
        len,
        active: min(wanted, comptime!(plan.splits).runtime()),
        positions: extents.positions,
        blocks: extents.blocks,
        angle: min(position, extents.table_rows - 1),
    };
    // Blocks of the token's row.
    let mut row_blocks = Shared::<[u32]>::new_slice(BLOCKS);
    if comptime!(plan.attention.block.is_some()) {
        let size = comptime!(plan.attention.block.unwrap());
        let mut i = unit;
        while i < min((len + comptime!(size - 1)) / size, BLOCKS) {
            let first = standing.row * (extents.positions / size);
            row_blocks[i] = min(blocks[first + i], u32::cast_from(extents.blocks - 1));
            i += comptime!(StackPlan::UNITS);
        }
    }
    copy_row(x_at, stream, hidden);
    sync_cube();

    let mut layer = 0usize.runtime();
    while layer < extents.layers {
        let before = serial(first_serial + u32::cast_from(layer), failed[0] != 0u32);
        let now = serial(before.number + 1u32, failed[0] != 0u32);
        let is_last = layer + 1 == extents.layers;
        let memory = Memory {
            keys: address_of(&addresses, layer, entry::KEYS),
            values: address_of(&addresses, layer, entry::VALUES),
            rotary: address_of(&addresses, layer, entry::ROTARY),
            qkv: qkv_at,
            sums: sums_at,
            attended: attended_at,
        };

        // Queries, keys and values.
        let words = address_of(&addresses, layer, entry::QKV);
        let mut held = Array::<Vector<u32, Const<4>>>::new(comptime!(StackPlan::ahead(plan.qkv)));
        load_words(words, &mut held, comptime!(plan.qkv), cubes);
        let mut scales = Array::<f32>::new(2usize);
        let from = address_of(&addresses, layer, comptime!(entry::QKV + 1));
        load_scales(from, &mut scales, comptime!(plan.qkv), cubes);
        let mut gains = Array::<f32>::new(comptime!(hidden.values()));
        load_gains(
            address_of(&addresses, layer, entry::INPUT_NORM),
            &mut gains,
            hidden,
        );
        let next = address_of(&addresses, layer, entry::GATE_UP);
        prefetch_words(next, comptime!(plan.gate_up), cubes);
        prefetch_share(&memory, blocks, &row_blocks, &standing, plan);
        let mut values = Array::<f32>::new(comptime!(hidden.values()));
        stream_values(
            stream,
            down_at,
            layer > 0,
            &before,
            &mut failed,
            &mut values,
            hidden,
            dtype,
        );
        let staged = address_of(&addresses, layer, entry::DOWN);
        copy_words(staged, down_stage, true, comptime!(plan.down), cubes);
        let scale = quantize_row(
            &mut values,
            &gains,
            extents.eps,
            codes,
            &mut folds,
            true,
            hidden,
        );
        multiply_strips(
            words,
            &mut held,
            codes,
            &mut sum_words,
            0u32,
            0usize,
            comptime!(plan.qkv),
            cubes,
            code,
        );
        write_rows(
            warp_sums,
            &scales,
            scale,
            qkv_at,
            now.number,
            delta_at,
            false,
            failed[0] != 0u32,
            comptime!(plan.qkv),
            cubes,
            dtype,
        );

        // Attention.
        let mut angles = Array::<f32>::new(16usize);
        load_angles(&memory, &standing, &mut angles, plan);
        attend_shares::<F>(
            &memory,
            blocks,
            &row_blocks,
            &standing,
            &angles,
            &now,
            extents.scale,
            plan,
        );

        // Output.
        let words = address_of(&addresses, layer, entry::OUTPUT);
        let mut held =
            Array::<Vector<u32, Const<4>>>::new(comptime!(StackPlan::ahead(plan.output)));
        load_words(words, &mut held, comptime!(plan.output), cubes);
        let mut scales = Array::<f32>::new(2usize);
        let from = address_of(&addresses, layer, comptime!(entry::OUTPUT + 1));
        load_scales(from, &mut scales, comptime!(plan.output), cubes);
        let mut gains = Array::<f32>::new(comptime!(width.values()));
        if comptime!(shape.sub_norms) {
            let from = address_of(&addresses, layer, entry::ATTENTION_SUB_NORM);
            load_gains(from, &mut gains, width);
        }
        prefetch_words(
            address_of(&addresses, layer, entry::DOWN),
            comptime!(plan.down),
            cubes,
        );
        let mut values = Array::<f32>::new(comptime!(width.values()));
        half_values(attended_at, &now, &mut failed, &mut values, width, dtype);
        let scale = quantize_row(
            &mut values,
            &gains,
            extents.eps,
            codes,
            &mut folds,
            comptime!(shape.sub_norms),
            width,
        );
        multiply_strips(
            words,
            &mut held,
            codes,
            &mut sum_words,
            0u32,
            0usize,
            comptime!(plan.output),
            cubes,
            code,
        );
        write_rows(
            warp_sums,
            &scales,
            scale,
            between_at,
            now.number,
            delta_at,
            false,
            failed[0] != 0u32,
            comptime!(plan.output),
            cubes,
            dtype,
        );

        // Gate and up.
        let words = address_of(&addresses, layer, entry::GATE_UP);
        let mut held =
            Array::<Vector<u32, Const<4>>>::new(comptime!(StackPlan::ahead(plan.gate_up)));
        load_words(words, &mut held, comptime!(plan.gate_up), cubes);
        let mut scales = Array::<f32>::new(4usize);
        let from = address_of(&addresses, layer, comptime!(entry::GATE_UP + 1));
        load_scales(from, &mut scales, comptime!(plan.gate_up), cubes);
        let mut gains = Array::<f32>::new(comptime!(hidden.values()));
        let from = address_of(&addresses, layer, entry::POST_ATTENTION_NORM);
        load_gains(from, &mut gains, hidden);
        if layer + 1 < extents.layers {
            prefetch_words(
                address_of(&addresses, layer + 1, entry::QKV),
                comptime!(plan.qkv),
                cubes,
            );
            prefetch_words(
                address_of(&addresses, layer + 1, entry::OUTPUT),
                comptime!(plan.output),
                cubes,
            );
        }
        let mut values = Array::<f32>::new(comptime!(hidden.values()));
        stream_values(
            stream,
            between_at,
            true,
            &now,
            &mut failed,
            &mut values,
            hidden,
            dtype,
        );
        let scale = quantize_row(
            &mut values,
            &gains,
            extents.eps,
            codes,
            &mut folds,
            true,
            hidden,
        );
        multiply_strips(
            words,
            &mut held,
            codes,
            &mut sum_words,
            gate_up_stage,
            comptime!(plan.pending()),
            comptime!(plan.gate_up),
            cubes,
            code,
        );
        write_gated(
            warp_sums,
            &scales,
            scale,
            gated_at,
            now.number,
            comptime!(Source::Gated(shape.activation)),
            comptime!(plan.gate_up),
            cubes,
            dtype,
        );

        // Down.
        let words = address_of(&addresses, layer, entry::DOWN);
        let mut held = Array::<Vector<u32, Const<4>>>::new(comptime!(StackPlan::ahead(plan.down)));
        load_words(words, &mut held, comptime!(plan.down), cubes);
        let mut scales = Array::<f32>::new(2usize);
        let from = address_of(&addresses, layer, comptime!(entry::DOWN + 1));
        load_scales(from, &mut scales, comptime!(plan.down), cubes);
        let mut gains = Array::<f32>::new(comptime!(inner.values()));
        if comptime!(shape.sub_norms) {
            let from = address_of(&addresses, layer, entry::FFN_SUB_NORM);
            load_gains(from, &mut gains, inner);
        }
        let mut values = Array::<f32>::new(comptime!(inner.values()));
        gated_values(
            gated_at,
            &now,
            &mut failed,
            &mut values,
            comptime!(Source::Gated(shape.activation)),
            comptime!(!shape.sub_norms),
            inner,
            dtype,
        );
        // Behind what had to be received: copies would stand in its way.
        let next = min(layer + 1, extents.layers - 1);
        let staged = address_of(&addresses, next, entry::GATE_UP);
        copy_words(
            staged,
            gate_up_stage,
            !is_last,
            comptime!(plan.gate_up),
            cubes,
        );
        let scale = quantize_row(
            &mut values,
            &gains,
            extents.eps,
            codes,
            &mut folds,
            comptime!(shape.sub_norms),
            inner,
        );
        multiply_strips(
            words,
            &mut held,
            codes,
            &mut sum_words,
            down_stage,
            comptime!(plan.pending()),
            comptime!(plan.down),
            cubes,
            code,
        );
        write_rows(
            warp_sums,
            &scales,
            scale,
            down_at,
            now.number,
            delta_at,
            is_last,
            failed[0] != 0u32,
            comptime!(plan.down),
            cubes,
            dtype,
        );
        layer += 1;
    }

    if CUBE_POS == 0 {
        store_row(stream, sum_at, hidden);
        if unit == 0 {
            store_word(
                begin_at + 0u64,
                first_serial + u32::cast_from(extents.layers),
            );
        }
    }
}
