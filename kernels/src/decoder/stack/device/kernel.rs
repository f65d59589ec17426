//! The kernel of a stack.

use cubecl::prelude::*;

use super::super::addresses::{ENTRIES, entry};
use super::super::base::{RowPlan, StackPlan};
use super::attend::{Memory, Standing, attend_shares, load_angles, prefetch_share};
use super::grid::{
    DOWN, FAILED, GATE_UP, HEADS, HEADS_BEGIN, OUTPUT, PRODUCTS_BEGIN, QKV, load_line, load_word,
    store_word, wait,
};
use super::product::{
    load_scales, load_words, multiply_strips, prefetch_words, write_gated, write_rows,
};
use super::row::{is_live, line_of, load_gains, quantize_row};
use crate::decoder::norm::Source;
use crate::device_code::MmaType;
use crate::device_code::ptx::lines::{high, low};
use crate::device_code::ptx::{global_address, global_address_mut, pack_half, shared_address, store_line};
use crate::operand::FloatType;

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
    qkv: &mut [F],
    attended: &mut [F],
    gated: &mut [f32],
    between: &mut [F],
    sums: &mut [f32],
    counters: &mut [u32],
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
    let mut addresses =
        Shared::<[u32]>::new_slice(comptime!(2 * ENTRIES * StackPlan::MAX_LAYERS));
    let mut folds = Shared::<[u32]>::new_slice(64usize);
    let mut failed = Shared::<[u32]>::new_slice(1usize);
    let codes = shared_address::<u32>(&code_words);
    let warp_sums = shared_address::<u32>(&sum_words);
    let stream = shared_address::<u32>(&stream_words);

    let counter_words = global_address_mut::<u32>(counters);
    let (x_at, sum_at, delta_at) = (
        global_address::<F>(x),
        global_address_mut::<F>(sum),
        global_address_mut::<F>(delta),
    );
    let (qkv_at, attended_at) = (global_address_mut::<F>(qkv), global_address_mut::<F>(attended));
    let (gated_at, between_at) = (global_address_mut::<f32>(gated), global_address_mut::<F>(between));

    // All cubes read these before they arrive anywhere, and the first cube writes them after all have arrived.
    let products_begin = load_word(counter_words + comptime!(4 * PRODUCTS_BEGIN as u64).runtime());
    let heads_begin = load_word(counter_words + comptime!(4 * HEADS_BEGIN as u64).runtime());
    if unit == 0 {
        failed[0] = load_word(counter_words + comptime!(4 * FAILED as u64).runtime());
    }
    let mut i = unit;
    while i < extents.layers * comptime!(2 * ENTRIES) {
        addresses[i] = table[i];
        i += comptime!(StackPlan::UNITS);
    }
    sync_cube();
    prefetch_words(address_of(&addresses, 0usize, entry::QKV), comptime!(plan.qkv), cubes);
    prefetch_words(address_of(&addresses, 0usize, entry::OUTPUT), comptime!(plan.output), cubes);

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
    copy_row(x_at, stream, hidden);

    let mut layer = 0usize.runtime();
    while layer < extents.layers {
        let before = products_begin + u32::cast_from(layer) * comptime!(cubes as u32);
        let after = before + comptime!(cubes as u32);
        let heads = heads_begin + u32::cast_from(layer + 1) * comptime!(shape.kv_heads as u32);
        let memory = Memory {
            keys: address_of(&addresses, layer, entry::KEYS),
            values: address_of(&addresses, layer, entry::VALUES),
            rotary: address_of(&addresses, layer, entry::ROTARY),
            qkv: qkv_at,
            counters: counter_words,
        };

        // Queries, keys and values.
        let words = address_of(&addresses, layer, entry::QKV);
        let mut held = Array::<Vector<u32, Const<4>>>::new(comptime!(StackPlan::ahead(plan.qkv)));
        load_words(words, &mut held, comptime!(plan.qkv), cubes);
        let mut scales = Array::<f32>::new(2usize);
        let from = address_of(&addresses, layer, comptime!(entry::QKV + 1));
        load_scales(from, &mut scales, comptime!(plan.qkv), cubes);
        let mut gains = Array::<f32>::new(comptime!(hidden.values()));
        load_gains(address_of(&addresses, layer, entry::INPUT_NORM), &mut gains, hidden);
        let next = address_of(&addresses, layer, entry::GATE_UP);
        prefetch_words(next, comptime!(plan.gate_up), cubes);
        prefetch_share(&memory, blocks, &standing, plan);
        if layer > 0 {
            wait(counter_words, DOWN, before, &mut failed);
        }
        let mut values = Array::<f32>::new(comptime!(hidden.values()));
        stream_values(stream, delta_at, layer > 0, &mut values, hidden, dtype);
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
            counter_words,
            QKV,
            failed[0] != 0u32,
            comptime!(plan.qkv),
            cubes,
            code,
            dtype,
        );

        // Attention.
        let mut angles = Array::<f32>::new(16usize);
        load_angles(&memory, &standing, &mut angles, plan);
        wait(counter_words, QKV, after, &mut failed);
        attend_shares::<F>(
            &memory,
            blocks,
            &standing,
            &angles,
            attended,
            sums,
            extents.scale,
            plan,
        );

        // Output.
        let words = address_of(&addresses, layer, entry::OUTPUT);
        let mut held = Array::<Vector<u32, Const<4>>>::new(comptime!(StackPlan::ahead(plan.output)));
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
        wait(counter_words, HEADS, heads, &mut failed);
        let mut values = Array::<f32>::new(comptime!(width.values()));
        half_values(attended_at, &mut values, width, dtype);
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
            counter_words,
            OUTPUT,
            failed[0] != 0u32,
            comptime!(plan.output),
            cubes,
            code,
            dtype,
        );

        // Gate and up.
        let words = address_of(&addresses, layer, entry::GATE_UP);
        let mut held = Array::<Vector<u32, Const<4>>>::new(comptime!(StackPlan::ahead(plan.gate_up)));
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
        wait(counter_words, OUTPUT, after, &mut failed);
        let mut values = Array::<f32>::new(comptime!(hidden.values()));
        stream_values(stream, between_at, true, &mut values, hidden, dtype);
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
            0usize,
            comptime!(plan.gate_up),
            cubes,
            code,
        );
        write_gated(
            warp_sums,
            &scales,
            scale,
            gated_at,
            counter_words,
            GATE_UP,
            comptime!(Source::Gated(shape.activation)),
            comptime!(plan.gate_up),
            cubes,
            code,
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
        wait(counter_words, GATE_UP, after, &mut failed);
        let mut values = Array::<f32>::new(comptime!(inner.values()));
        gated_values(
            gated_at,
            &mut values,
            comptime!(!shape.sub_norms),
            inner,
            dtype,
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
            0usize,
            comptime!(plan.down),
            cubes,
            code,
        );
        write_rows(
            warp_sums,
            &scales,
            scale,
            delta_at,
            counter_words,
            DOWN,
            failed[0] != 0u32,
            comptime!(plan.down),
            cubes,
            code,
            dtype,
        );
        layer += 1;
    }

    if CUBE_POS == 0 {
        store_row(stream, sum_at, hidden);
        if unit == 0 {
            let products = products_begin + u32::cast_from(extents.layers) * comptime!(cubes as u32);
            let heads =
                heads_begin + u32::cast_from(extents.layers) * comptime!(shape.kv_heads as u32);
            let begin = counter_words + comptime!(4 * PRODUCTS_BEGIN as u64).runtime();
            store_word(begin, products);
            let begin = counter_words + comptime!(4 * HEADS_BEGIN as u64).runtime();
            store_word(begin, heads);
        }
    }
    if unit == 0 && failed[0] != 0u32 {
        store_word(counter_words + comptime!(4 * FAILED as u64).runtime(), 1u32);
    }
}

/// Copies a row of half-precision floats to shared memory, each unit its own lines.
#[cube]
fn copy_row(from: u64, to: u32, #[comptime] row: RowPlan) {
    #[unroll]
    for pass in 0..comptime!(row.passes()) {
        #[unroll]
        for i in 0..comptime!(row.per_unit) {
            if is_live(pass, i, row) {
                let line = line_of(pass, i, row);
                let held = load_line(from + u64::cast_from(line * 16));
                store_line(
                    to + u32::cast_from(line) * 16,
                    held.extract(0usize),
                    held.extract(1usize),
                    held.extract(2usize),
                    held.extract(3usize),
                );
            }
        }
    }
}

/// Copies this unit's lines of a row in shared memory to global memory.
#[cube]
fn store_row(from: u32, to: u64, #[comptime] row: RowPlan) {
    #[unroll]
    for pass in 0..comptime!(row.passes()) {
        #[unroll]
        for i in 0..comptime!(row.per_unit) {
            if is_live(pass, i, row) {
                let line = line_of(pass, i, row);
                let held = crate::device_code::ptx::load_line(from + u32::cast_from(line) * 16);
                let to = to + u64::cast_from(line * 16);
                #[unroll]
                for word in 0..4usize {
                    store_word(to + comptime!(4 * word as u64).runtime(), held.extract(word));
                }
            }
        }
    }
}

/// This unit's values of the residual stream, to which the row at `delta` is added first if `adds`.
#[cube]
fn stream_values(
    stream: u32,
    delta: u64,
    adds: bool,
    values: &mut Array<f32>,
    #[comptime] row: RowPlan,
    #[comptime] dtype: FloatType,
) {
    #[unroll]
    for pass in 0..comptime!(row.passes()) {
        #[unroll]
        for i in 0..comptime!(row.per_unit) {
            let at = comptime!(8 * (pass * row.per_unit + i));
            #[unroll]
            for j in 0..8usize {
                values[comptime!(at + j)] = 0.0f32;
            }
            if is_live(pass, i, row) {
                let line = line_of(pass, i, row);
                let place = stream + u32::cast_from(line) * 16;
                let held = crate::device_code::ptx::load_line(place);
                let mut words = Array::<u32>::new(4usize);
                #[unroll]
                for word in 0..4usize {
                    words[word] = held.extract(word);
                }
                if adds {
                    let added = load_line(delta + u64::cast_from(line * 16));
                    #[unroll]
                    for word in 0..4usize {
                        let (a, b) = (words[word], added.extract(word));
                        words[word] = pack_half(
                            low(a, dtype) + low(b, dtype),
                            high(a, dtype) + high(b, dtype),
                            comptime!(half_type(dtype)),
                        );
                    }
                    store_line(place, words[0], words[1], words[2], words[3]);
                }
                #[unroll]
                for word in 0..4usize {
                    values[comptime!(at + 2 * word)] = low(words[word], dtype);
                    values[comptime!(at + 2 * word + 1)] = high(words[word], dtype);
                }
            }
        }
    }
}

/// This unit's values of a row of half-precision floats that other cubes wrote.
#[cube]
fn half_values(
    from: u64,
    values: &mut Array<f32>,
    #[comptime] row: RowPlan,
    #[comptime] dtype: FloatType,
) {
    #[unroll]
    for pass in 0..comptime!(row.passes()) {
        #[unroll]
        for i in 0..comptime!(row.per_unit) {
            let at = comptime!(8 * (pass * row.per_unit + i));
            #[unroll]
            for j in 0..8usize {
                values[comptime!(at + j)] = 0.0f32;
            }
            if is_live(pass, i, row) {
                let held = load_line(from + u64::cast_from(line_of(pass, i, row) * 16));
                #[unroll]
                for word in 0..4usize {
                    values[comptime!(at + 2 * word)] = low(held.extract(word), dtype);
                    values[comptime!(at + 2 * word + 1)] = high(held.extract(word), dtype);
                }
            }
        }
    }
}

/// This unit's values of a row of f32 that other cubes wrote, rounded to half precision first if `rounds`.
#[cube]
fn gated_values(
    from: u64,
    values: &mut Array<f32>,
    #[comptime] rounds: bool,
    #[comptime] row: RowPlan,
    #[comptime] dtype: FloatType,
) {
    #[unroll]
    for pass in 0..comptime!(row.passes()) {
        #[unroll]
        for i in 0..comptime!(row.per_unit) {
            let at = comptime!(8 * (pass * row.per_unit + i));
            #[unroll]
            for j in 0..8usize {
                values[comptime!(at + j)] = 0.0f32;
            }
            if is_live(pass, i, row) {
                let from = from + u64::cast_from(line_of(pass, i, row) * 32);
                let first = load_line(from);
                let second = load_line(from + 16);
                #[unroll]
                for j in 0..4usize {
                    values[comptime!(at + j)] = f32::reinterpret(first.extract(j));
                    values[comptime!(at + 4 + j)] = f32::reinterpret(second.extract(j));
                }
            }
        }
    }
    if comptime!(rounds) {
        #[unroll]
        for pair in 0..comptime!(row.values() / 2) {
            let (first, second) = comptime!((2 * pair, 2 * pair + 1));
            let packed = pack_half(values[first], values[second], comptime!(half_type(dtype)));
            values[first] = low(packed, dtype);
            values[second] = high(packed, dtype);
        }
    }
}

const fn half_type(dtype: FloatType) -> MmaType {
    match dtype {
        FloatType::F16 => MmaType::F16,
        _ => MmaType::Bf16,
    }
}
