//! Counts zero codes, and codes that changed.

use cubecl::prelude::*;
use tritburn_formats::layout::WEIGHTS_PER_WORD;
use tritburn_formats::{PackedLayout, WeightCode};

use crate::device::{DeviceFacts, address, cubes};
use crate::device_code::team::{Team, team_count, team_place};
use crate::error::KernelError;
use crate::operand::Buffer;
use crate::rows::multiprocessors;

/// Counts the codes `after` of `layout`, u32 words in the layout of [`PackedWeights`](crate::PackedWeights).
/// Writes three counts to `out` u32 `[3]`: codes of value zero, codes that differ from `before` (0 without
/// it), and all codes. Padding is not counted; the four-level code has no zero.
///
/// # Errors
/// [`KernelError`] if a buffer has another length, or there are more weights than u32 counts.
pub fn compare_codes(
    client: &Client,
    layout: &PackedLayout,
    before: Option<&Buffer>,
    after: &Buffer,
    out: &Buffer,
) -> Result<(), KernelError> {
    let words = layout.word_count();
    after.check_exact("packed words", words)?;
    before.map_or(Ok(()), |before| {
        before.check_exact("packed words before", words)
    })?;
    out.check_exact("counts of codes", 3)?;
    let weights = layout.weight_count();
    let Ok(weights) = u32::try_from(weights) else {
        return Err(KernelError::Unsupported {
            what: "weights to count",
            found: weights,
            allowed: "less than 2^32",
        });
    };
    let device = DeviceFacts::of(client);
    let team = Team::new(client, &device);
    let parts = words
        .div_ceil(team.lanes() * WORDS_OF_UNIT)
        .clamp(1, multiprocessors(client) * TEAMS_PER_PROCESSOR);
    let partials = Buffer::new(client.empty(2 * parts * size_of::<u32>()), 2 * parts);
    let per_row = layout.words_per_row();
    let padding = WEIGHTS_PER_WORD * per_row - layout.in_features();
    // SAFETY: the buffers cover their operands, and the kernels stay within them.
    unsafe {
        count_words::launch_unchecked(
            client,
            cubes(client, parts, team.rows())?,
            CubeDim::new_1d(team.units as u32),
            address(client, &[words, 2 * parts])?,
            before.map(Buffer::arg).into(),
            after.arg(),
            partials.arg(),
            words,
            per_row,
            LOW_BITS >> (2 * padding),
            parts,
            layout.code() == WeightCode::Ternary,
            team,
        );
        add_counts::launch_unchecked(
            client,
            CubeCount::new_single(),
            CubeDim::new_1d(team.units as u32),
            address(client, &[2 * parts])?,
            partials.arg(),
            out.arg(),
            parts,
            weights,
            team,
        );
    }
    Ok(())
}

const WORDS_OF_UNIT: usize = 8;
const TEAMS_PER_PROCESSOR: usize = 4;
/// The low bit of each code of a word.
const LOW_BITS: u32 = 0x5555_5555;

/// A team counts every `parts`-th group of words. `last` masks the weights of a row's last word: the low
/// bit of each.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
fn count_words(
    before: ComptimeOption<&[u32]>,
    after: &[u32],
    partials: &mut [u32],
    words: usize,
    per_row: usize,
    last: u32,
    parts: usize,
    #[comptime] has_zero: bool,
    #[comptime] team: Team,
) {
    let lanes = comptime!(team.lanes());
    let (part, lane) = team_place(team);
    if part < parts {
        let mut shared = Shared::<[u32]>::new_slice(comptime!(team.shared_words(2)));
        let mut zeros = 0u32;
        let mut flips = 0u32;
        let mut at = part * lanes + lane;
        while at < words {
            let ends_row = (at + 1) % per_row == 0;
            let real = select(ends_row, last, comptime!(LOW_BITS).runtime());
            let word = after[at];
            if comptime!(has_zero) {
                // Zero is code 1: low bit set, high bit not.
                zeros += (word & !(word >> 1) & real).count_ones();
            }
            #[comptime]
            if let ComptimeOption::Some(before) = before {
                let changed = word ^ before[at];
                flips += ((changed | (changed >> 1)) & real).count_ones();
            }
            at += parts * lanes;
        }
        let zeros = team_count(zeros, &mut shared, 0usize, team);
        let flips = team_count(flips, &mut shared, 1usize, team);
        if lane == 0 {
            partials[2 * part] = zeros;
            partials[2 * part + 1] = flips;
        }
    }
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn add_counts(
    partials: &[u32],
    out: &mut [u32],
    parts: usize,
    weights: u32,
    #[comptime] team: Team,
) {
    let (place, lane) = team_place(team);
    if place == 0 {
        let mut shared = Shared::<[u32]>::new_slice(comptime!(team.shared_words(2)));
        let mut zeros = 0u32;
        let mut flips = 0u32;
        let mut part = lane;
        while part < parts {
            zeros += partials[2 * part];
            flips += partials[2 * part + 1];
            part += comptime!(team.lanes());
        }
        let zeros = team_count(zeros, &mut shared, 0usize, team);
        let flips = team_count(flips, &mut shared, 1usize, team);
        if lane == 0 {
            out[0] = zeros;
            out[1] = flips;
            out[2] = weights;
        }
    }
}
