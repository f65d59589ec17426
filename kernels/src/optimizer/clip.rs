//! The norm of all gradients, and the factor that clips it.

use cubecl::prelude::*;

use super::base::{flattened, width_of};
use crate::device::{DeviceFacts, address, cubes};
use crate::device_code::team::{Team, team_place, team_sum};
use crate::error::KernelError;
use crate::operand::{Buffer, FloatMatrix};
use crate::rows::multiprocessors;

/// `sums[index] = Σ x²` over all elements of `x`, of any float type; `sums` is f32. Partial sums are
/// f32 and added in a fixed order. A matrix without rows gives 0.
///
/// # Errors
/// [`KernelError`] if `sums` has no such index or the device lacks the type.
pub fn square_sum(
    client: &Client,
    x: &FloatMatrix,
    sums: &Buffer,
    index: usize,
) -> Result<(), KernelError> {
    x.check(client, "x", [x.rows(), x.cols()])?;
    sums.check_exact("sums of squares", sums.len().max(index + 1))?;
    let matrices = flattened([x]);
    let width = width_of(&matrices);
    let [x] = &matrices;
    let lines = x.cols() / width;
    let device = DeviceFacts::of(client);
    let team = Team::new(client, &device);
    let parts = parts_of(client, x.rows() * lines, team);
    let partials = Buffer::new(client.empty(parts * size_of::<f32>()), parts);
    let (out, first_out) = match parts {
        1 => (sums, index),
        _ => (&partials, 0),
    };
    // SAFETY: the buffers cover their operands, and the kernels stay within them.
    unsafe {
        square_lines::launch_unchecked(
            client,
            cubes(client, parts, team.rows())?,
            CubeDim::new_1d(team.units as u32),
            address(client, &[x.extent(), parts])?,
            width,
            x.lines(width),
            out.arg(),
            x.rows() * lines,
            lines,
            x.row_stride() / width,
            parts,
            first_out,
            team,
            x.dtype().elem(),
        );
        if parts > 1 {
            add_parts::launch_unchecked(
                client,
                CubeCount::new_single(),
                CubeDim::new_1d(team.units as u32),
                address(client, &[parts])?,
                partials.arg(),
                sums.arg(),
                parts,
                index,
                team,
            );
        }
    }
    Ok(())
}

/// Teams that divide `lines`: enough to occupy the device, each with enough lines to pay.
fn parts_of(client: &Client, lines: usize, team: Team) -> usize {
    const LINES_OF_UNIT: usize = 8;
    const PER_PROCESSOR: usize = 8;
    let most = multiprocessors(client) * PER_PROCESSOR;
    lines.div_ceil(team.lanes() * LINES_OF_UNIT).clamp(1, most)
}

/// `norm = √Σ sums` and `factor = min(1, max_norm / (norm + 1e-6))`, as torch's `clip_grad_norm_`; all f32,
/// `norm` and `factor` `[1]`. A norm of NaN gives a factor of NaN.
///
/// # Errors
/// [`KernelError`] if lengths differ.
pub fn clip_factor(
    client: &Client,
    sums: &Buffer,
    max_norm: f32,
    norm: &Buffer,
    factor: &Buffer,
) -> Result<(), KernelError> {
    sums.check_exact("sums of squares", sums.len())?;
    norm.check_exact("gradient norm", 1)?;
    factor.check_exact("gradient factor", 1)?;
    let team = Team::new(client, &DeviceFacts::of(client));
    // SAFETY: the buffers cover their operands, and the kernel stays within them.
    unsafe {
        clip::launch_unchecked(
            client,
            CubeCount::new_single(),
            CubeDim::new_1d(team.units as u32),
            address(client, &[sums.len()])?,
            sums.arg(),
            norm.arg(),
            factor.arg(),
            sums.len(),
            max_norm,
            team,
        );
    }
    Ok(())
}

/// A team adds every `parts`-th group of lines.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
fn square_lines<F: Float, V: Size>(
    x: &[Vector<F, V>],
    out: &mut [f32],
    items: usize,
    lines: usize,
    stride: usize,
    parts: usize,
    first_out: usize,
    #[comptime] team: Team,
    #[define(F)] _dtype: ElemType,
) {
    let lanes = comptime!(team.lanes());
    let (part, lane) = team_place(team);
    if part < parts {
        let mut shared = Shared::<[u32]>::new_slice(comptime!(team.shared_words(1)));
        let mut sum = 0.0f32;
        let mut item = part * lanes + lane;
        while item < items {
            let line = x[item / lines * stride + item % lines];
            #[unroll]
            for j in 0..V::value() {
                let value = f32::cast_from(line.extract(j));
                sum += value * value;
            }
            item += parts * lanes;
        }
        let sum = team_sum(sum, &mut shared, 0usize, team);
        if lane == 0 {
            out[first_out + part] = sum;
        }
    }
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn add_parts(
    partials: &[f32],
    sums: &mut [f32],
    parts: usize,
    index: usize,
    #[comptime] team: Team,
) {
    let (place, lane) = team_place(team);
    if place == 0 {
        let sum = sum_of(partials, parts, lane, team);
        if lane == 0 {
            sums[index] = sum;
        }
    }
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn clip(
    sums: &[f32],
    norm: &mut [f32],
    factor: &mut [f32],
    len: usize,
    max_norm: f32,
    #[comptime] team: Team,
) {
    let (place, lane) = team_place(team);
    if place == 0 {
        let root = sum_of(sums, len, lane, team).sqrt();
        if lane == 0 {
            let clipped = max_norm / (root + 1e-6f32);
            norm[0] = root;
            // A NaN fails the comparison and is kept.
            factor[0] = select(clipped >= 1.0f32, 1.0f32, clipped);
        }
    }
}

/// This unit's share of the sum of `len` numbers: every `lanes`-th.
#[cube]
fn sum_of(values: &[f32], len: usize, lane: usize, #[comptime] team: Team) -> f32 {
    let mut shared = Shared::<[u32]>::new_slice(comptime!(team.shared_words(1)));
    let mut sum = 0.0f32;
    let mut at = lane;
    while at < len {
        sum += values[at];
        at += comptime!(team.lanes());
    }
    team_sum(sum, &mut shared, 0usize, team)
}
