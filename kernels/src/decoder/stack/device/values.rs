//! Device code: the values of rows that cubes hand on, each unit's lines of them.

use cubecl::prelude::*;

use super::super::base::RowPlan;
use super::handoff::{MISSING, Serial, glance, glance_parity, receive, store_word};
use super::product::gates_are_positive;
use super::row::{is_live, line_of};
use crate::decoder::norm::{Source, gate};
use crate::device_code::MmaType;
use crate::device_code::ptx::lines::{high, low};
use crate::device_code::ptx::{load_global, load_line, pack_half, store_line};
use crate::operand::FloatType;

/// Notes that the cube has given up where words are missing. What it hands on is NaN then.
#[cube]
fn note(words: Vector<u32, Const<4>>, failed: &mut [u32]) {
    if words.extract(0usize) == MISSING {
        failed[0] = 1u32;
    }
}

/// Copies a row of half-precision floats to shared memory, each unit its own lines.
#[cube]
pub(super) fn copy_row(from: u64, to: u32, #[comptime] row: RowPlan) {
    #[unroll]
    for pass in 0..comptime!(row.passes()) {
        #[unroll]
        for i in 0..comptime!(row.per_unit) {
            if is_live(pass, i, row) {
                let line = line_of(pass, i, row);
                let held = load_global(from + u64::cast_from(line * 16));
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
pub(super) fn store_row(from: u32, to: u64, #[comptime] row: RowPlan) {
    #[unroll]
    for pass in 0..comptime!(row.passes()) {
        #[unroll]
        for i in 0..comptime!(row.per_unit) {
            if is_live(pass, i, row) {
                let line = line_of(pass, i, row);
                let held = load_line(from + u32::cast_from(line) * 16);
                let to = to + u64::cast_from(line * 16);
                #[unroll]
                for word in 0..4usize {
                    store_word(
                        to + comptime!(4 * word as u64).runtime(),
                        held.extract(word),
                    );
                }
            }
        }
    }
}

/// This unit's values of the residual stream, to which the row handed on at `delta` is added first if `adds`.
#[cube]
#[allow(clippy::too_many_arguments, reason = "a row and its places")]
pub(super) fn stream_values(
    stream: u32,
    delta: u64,
    adds: bool,
    serial: &Serial,
    failed: &mut [u32],
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
                let held = load_line(place);
                let mut words = Array::<u32>::new(4usize);
                #[unroll]
                for word in 0..4usize {
                    words[word] = held.extract(word);
                }
                if adds {
                    let added = receive(delta + u64::cast_from(line * 32), serial);
                    note(added, failed);
                    #[unroll]
                    for word in 0..4usize {
                        let (a, b) = (words[word], added.extract(word));
                        words[word] = pack_half(
                            low(a, dtype) + low(b, dtype),
                            high(a, dtype) + high(b, dtype),
                            comptime!(MmaType::of(dtype)),
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

/// This unit's values of a row of half-precision floats that other cubes hand on.
#[cube]
pub(super) fn half_values(
    from: u64,
    serial: &Serial,
    failed: &mut [u32],
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
                let held = receive(from + u64::cast_from(line_of(pass, i, row) * 32), serial);
                note(held, failed);
                #[unroll]
                for word in 0..4usize {
                    values[comptime!(at + 2 * word)] = low(held.extract(word), dtype);
                    values[comptime!(at + 2 * word + 1)] = high(held.extract(word), dtype);
                }
            }
        }
    }
}

/// This unit's values of a gated row that other cubes hand on, rounded to half precision first if `rounds`.
///
/// A line takes several loads. They are issued together, and again for as long as a word is not there.
#[cube]
#[allow(clippy::too_many_arguments, reason = "a row and its places")]
pub(super) fn gated_values(
    from: u64,
    serial: &Serial,
    failed: &mut [u32],
    values: &mut Array<f32>,
    #[comptime] source: Source,
    #[comptime] rounds: bool,
    #[comptime] row: RowPlan,
    #[comptime] dtype: FloatType,
) {
    #[unroll]
    for i in 0..comptime!(row.values()) {
        values[i] = 0.0f32;
    }
    let packed = comptime!(gates_are_positive(source));
    let bytes = comptime!(if packed { 32 } else { 64 });
    let mut left = serial.patience + 0u32;
    while left > 0u32 {
        let mut there = true.runtime();
        #[unroll]
        for pass in 0..comptime!(row.passes()) {
            #[unroll]
            for i in 0..comptime!(row.per_unit) {
                if is_live(pass, i, row) {
                    let at = comptime!(8 * (pass * row.per_unit + i));
                    let from = from + u64::cast_from(line_of(pass, i, row) * bytes);
                    #[unroll]
                    for half in 0..2usize {
                        if comptime!(packed) {
                            let from = from + comptime!(16 * half as u64).runtime();
                            let (words, here) = glance_parity(from, serial);
                            there = there && here;
                            #[unroll]
                            for j in 0..4usize {
                                let word = words.extract(j);
                                let value = low(word, dtype) * gate(high(word, dtype), source);
                                values[comptime!(at + 4 * half + j)] = value;
                            }
                        } else {
                            let from = from + comptime!(32 * half as u64).runtime();
                            let (words, here) = glance(from, serial);
                            there = there && here;
                            #[unroll]
                            for j in 0..4usize {
                                values[comptime!(at + 4 * half + j)] =
                                    f32::reinterpret(words.extract(j));
                            }
                        }
                    }
                }
            }
        }
        left = select(there, 0u32, left - 1);
        if !there && left == 0u32 {
            failed[0] = 1u32;
        }
    }
    if comptime!(rounds) {
        #[unroll]
        for pair in 0..comptime!(row.values() / 2) {
            let (first, second) = comptime!((2 * pair, 2 * pair + 1));
            let packed = pack_half(values[first], values[second], comptime!(MmaType::of(dtype)));
            values[first] = low(packed, dtype);
            values[second] = high(packed, dtype);
        }
    }
}
