//! Device code: the index of a row's maximum, reduced in parts.

use cubecl::prelude::*;

use super::noise::{gumbel, row_key};
use crate::device_code::team::{Team, team_max};

/// Runtime sizes.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct ArgmaxExtents {
    /// Rows.
    pub tokens: usize,
    /// Columns.
    pub cols: usize,
    /// Row stride, in elements.
    pub stride: usize,
    /// Cubes that share a row.
    pub parts: usize,
    /// Columns of a part, a multiple of the width of a line.
    pub part: usize,
}

/// Index of the maximum of each row; with `draws` and `positions`, of each row's values plus its temperature
/// times Gumbel noise. Each cube reduces one part; the last cube to finish combines the
/// parts in order (ties: lowest index) and resets the counter.
///
/// `partials` has two words per part: the maximum as [`order_of`] numbers it, and its column.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn argmax<V: Size>(
    x: &[Vector<f32, V>],
    draws: ComptimeOption<&[u32]>,
    positions: ComptimeOption<&[u32]>,
    ids: &mut [u32],
    partials: &mut [u32],
    counters: &mut [Atomic<u32>],
    extents: ArgmaxExtents,
    #[comptime] split: bool,
    #[comptime] team: Team,
) {
    let width = V::value();
    let lanes = comptime!(team.lanes());
    let (place, lane) = crate::device_code::team::team_place(team);
    let (token, part) = (place / extents.parts, place % extents.parts);
    if token < extents.tokens {
        let mut shared = Shared::<[u32]>::new_slice(comptime!(team.shared_words(4)));
        let row = token * extents.stride / width;
        let end = min((part + 1) * extents.part, extents.cols) / width;
        let mut best = 0u32;
        let mut id = u32::MAX.runtime();
        let mut temperature = 0.0f32.runtime();
        let mut key = 0u32.runtime();
        #[comptime]
        if let ComptimeOption::Some(draws) = draws {
            #[comptime]
            if let ComptimeOption::Some(positions) = positions {
                temperature = f32::reinterpret(draws[3 * token]);
                key = row_key(draws[3 * token + 1], draws[3 * token + 2], positions[token]);
            }
        }
        let mut line = part * extents.part / width + lane;
        while line < end {
            let values = x[row + line];
            #[unroll]
            for j in 0..width {
                let value = match comptime!(draws.is_some()) {
                    true => {
                        let column = u32::cast_from(line * width + j);
                        with_noise(values.extract(j), temperature, key, column)
                    }
                    false => values.extract(j),
                };
                let order = order_of(value);
                // Columns ascend, so that the first of equal values is kept.
                if order > best {
                    best = order;
                    id = u32::cast_from(line * width + j);
                }
            }
            line += lanes;
        }
        let top = team_max(best, &mut shared, 0usize, team);
        // The maximum of the complements belongs to the lowest column.
        let first = team_max(select(best == top, !id, 0u32), &mut shared, 1usize, team);
        if comptime!(split) {
            if lane == 0 {
                partials[2 * place] = top;
                partials[2 * place + 1] = first;
            }
            let mut arrived = Shared::<u32>::new();
            sync_storage();
            if lane == 0 {
                *arrived = counters[token].fetch_add(1u32);
            }
            sync_storage();
            if *arrived + 1 == u32::cast_from(extents.parts) {
                let mut best = 0u32;
                let mut complement = 0u32;
                let mut i = lane;
                while i < extents.parts {
                    let at = 2 * (token * extents.parts + i);
                    if partials[at] > best {
                        best = partials[at];
                        complement = partials[at + 1];
                    }
                    i += lanes;
                }
                let top = team_max(best, &mut shared, 2usize, team);
                let mine = select(best == top, complement, 0u32);
                let first = team_max(mine, &mut shared, 3usize, team);
                if lane == 0 {
                    ids[token] = chosen(top, first, extents.cols);
                    counters[token].store(0u32);
                }
            }
        } else if lane == 0 {
            ids[token] = chosen(top, first, extents.cols);
        }
    }
}

/// `value` plus `temperature` times the noise of its column.
#[cube]
fn with_noise(value: f32, temperature: f32, key: u32, column: u32) -> f32 {
    let mut noisy = value;
    if temperature > 0.0f32 {
        noisy += temperature * gumbel(key, column);
    }
    noisy
}

/// An unsigned integer that orders as `x` does. NaN is above all values; 0 is below all.
#[cube]
fn order_of(x: f32) -> u32 {
    // -0 and +0 compare as equal.
    let bits = u32::reinterpret(select(x == 0.0f32, 0.0f32, x));
    let ordered = select(bits >> 31 == 1u32, !bits, bits | 0x8000_0000u32);
    select(
        bits & 0x7FFF_FFFFu32 > 0x7F80_0000u32,
        u32::MAX.runtime(),
        ordered,
    )
}

/// The column of the maximum, or `cols` if the maximum is NaN.
#[cube]
fn chosen(order: u32, complement: u32, cols: usize) -> u32 {
    select(
        order == u32::MAX.runtime(),
        u32::cast_from(cols),
        !complement,
    )
}
