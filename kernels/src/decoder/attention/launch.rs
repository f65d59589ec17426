//! Checked launches of the attention.

use cubecl::prelude::*;

use super::base::{AttentionScratch, DecodePlan};
use super::cuda::{PrefillExtentsLaunch, PrefillPlan, prefill_mma};
use super::planes::{AttentionExtentsLaunch, attend_planes};
use super::serial::attend_serial;
use crate::decoder::rotary::Placement;
use crate::device::{DeviceFacts, address, cubes};
use crate::device_code::team::planes;
use crate::error::KernelError;
use crate::operand::FloatMatrix;
use crate::operand::KvCache;

/// `out[t] = softmax(scale · q[t] · Kᵀ) · V` for `q` and `out` `[T, Hq·D]`: token `t` attends to the
/// positions of its cache row up to its own. Tokens may belong to any rows. A row or position that the
/// cache lacks counts as its last one. T = 0 launches nothing.
///
/// # Errors
/// [`KernelError`] if shapes or types differ, heads of q are not a multiple of those of the cache,
/// or the device lacks the type.
pub fn launch(
    client: &Client,
    q: &FloatMatrix,
    cache: &KvCache,
    place: Placement<'_>,
    out: &FloatMatrix,
    scale: f32,
    scratch: &AttentionScratch,
) -> Result<(), KernelError> {
    attend(client, q, cache, place, out, scale, scratch, true)
}

/// How many slots of scratch a [`launch`] for `tokens` tokens of `heads` query heads needs over a cache of
/// blocks, where cubes share positions by the length of a row alone. 0 for other caches, and on devices
/// whose cubes share nothing: any scratch does.
pub fn slots(client: &Client, tokens: usize, heads: usize, cache: &KvCache) -> usize {
    let device = DeviceFacts::of(client);
    let by_planes = device.lockstep && planes(client) && DecodePlan::takes(cache);
    if cache.block().is_none() || !by_planes || !client.features().device_memory_scope {
        return 0;
    }
    let (plan, splits) = DecodePlan::new(tokens, heads, cache, Some(0), &device);
    plan.slots(cubes_of_heads(tokens, heads, cache, plan), splits)
}

/// Cubes without those that share positions.
fn cubes_of_heads(tokens: usize, heads: usize, cache: &KvCache, plan: DecodePlan) -> usize {
    tokens * cache.heads() * (heads / cache.heads()).div_ceil(plan.group)
}

/// [`launch`], in which cubes may `share` positions, or not.
#[allow(clippy::too_many_arguments, reason = "the operands of a launch")]
fn attend(
    client: &Client,
    q: &FloatMatrix,
    cache: &KvCache,
    place: Placement<'_>,
    out: &FloatMatrix,
    scale: f32,
    scratch: &AttentionScratch,
    share: bool,
) -> Result<(), KernelError> {
    let heads = check(client, q, cache, place, out)?;
    let tokens = q.rows();
    if tokens == 0 {
        return Ok(());
    }
    let device = DeviceFacts::of(client);
    let address = address(client, &[q.extent(), cache.elements(), out.extent()])?;
    let extents = |width, splits| {
        AttentionExtentsLaunch::new(
            tokens,
            heads,
            cache.heads(),
            cache.batch(),
            cache.positions(),
            cache.blocks(),
            q.row_stride() / width,
            out.row_stride() / if splits == 0 { width } else { 1 },
            splits,
            scale,
        )
    };
    let dtype = q.dtype().elem();
    // SAFETY: the buffers cover their operands, and the kernels stay within them.
    unsafe {
        let by_planes = device.lockstep && planes(client) && DecodePlan::takes(cache);
        if by_planes && q.line_width() == cache.width() {
            let shared = share && client.features().device_memory_scope;
            let slots = shared.then_some(scratch.slots);
            let (plan, splits) = DecodePlan::new(tokens, heads, cache, slots, &device);
            let of_heads = cubes_of_heads(tokens, heads, cache, plan);
            let slots = plan.slots(of_heads, splits);
            if plan.split && slots > scratch.slots {
                return Err(KernelError::Length {
                    operand: "attention scratch",
                    expected: slots,
                    found: scratch.slots,
                });
            }
            attend_planes::launch_unchecked(
                client,
                cubes(client, of_heads * splits, 1)?,
                CubeDim::new_1d(plan.units as u32),
                address,
                plan.width,
                q.lines(plan.width),
                cache.key_lines(plan.width),
                cache.value_lines(plan.width),
                place.rows.arg(),
                place.positions.arg(),
                cache.table(place.rows).arg(),
                out.lines(1),
                scratch.sums.arg(),
                scratch.counters.arg(),
                extents(plan.width, splits),
                plan,
                dtype,
            );
        } else {
            let width = q.line_width().min(out.line_width()).min(4);
            let width = dividing(width, cache.dim());
            attend_serial::launch_unchecked(
                client,
                cubes(client, tokens * heads, device.cube_units as usize)?,
                device.cube_dim(),
                address,
                width,
                q.lines(width),
                cache.key_lines(width),
                cache.value_lines(width),
                place.rows.arg(),
                place.positions.arg(),
                cache.table(place.rows).arg(),
                out.lines(width),
                extents(width, 0),
                cache.dim() / width,
                cache.block(),
                dtype,
            );
        }
    }
    Ok(())
}

/// As [`launch`], for a prompt: all tokens belong to the row of token 0, at consecutive positions from
/// that of token 0 on.
///
/// # Errors
/// As [`launch`].
pub fn prefill(
    client: &Client,
    q: &FloatMatrix,
    cache: &KvCache,
    place: Placement<'_>,
    out: &FloatMatrix,
    scale: f32,
    scratch: &AttentionScratch,
) -> Result<(), KernelError> {
    let heads = check(client, q, cache, place, out)?;
    let device = DeviceFacts::of(client);
    let plan = PrefillPlan::new(q.rows(), cache, &device);
    let Some(plan) = plan.filter(|_| q.starts_pairs() && out.starts_pairs()) else {
        // Prompts are enough work for cubes of their own, and would need much scratch.
        let share = cache.block().is_none();
        return attend(client, q, cache, place, out, scale, scratch, share);
    };
    let cubes_of_heads = q.rows().div_ceil(plan.tokens()) * heads;
    // SAFETY: the buffers cover their operands, in pairs of elements, and the kernel stays
    // inside of them.
    unsafe {
        prefill_mma::launch_unchecked(
            client,
            cubes(client, cubes_of_heads, 1)?,
            CubeDim::new_1d(plan.units() as u32),
            address(client, &[q.extent(), cache.elements(), out.extent()])?,
            q.lines(2),
            cache.key_lines(2),
            cache.value_lines(2),
            place.rows.arg(),
            place.positions.arg(),
            cache.table(place.rows).arg(),
            out.lines(2),
            PrefillExtentsLaunch::new(
                q.rows(),
                heads,
                cache.heads(),
                cache.batch(),
                cache.positions(),
                cache.blocks(),
                q.row_stride() / 2,
                out.row_stride() / 2,
                scale * core::f32::consts::LOG2_E,
            ),
            plan,
        );
    }
    Ok(())
}

/// The largest power of two up to `width` that divides `dim`.
fn dividing(width: usize, dim: usize) -> usize {
    width.min(1 << dim.trailing_zeros())
}

/// Checks the operands and returns the number of query heads.
fn check(
    client: &Client,
    q: &FloatMatrix,
    cache: &KvCache,
    place: Placement<'_>,
    out: &FloatMatrix,
) -> Result<usize, KernelError> {
    let heads = (q.cols() / cache.dim()).max(1);
    if !heads.is_multiple_of(cache.heads()) {
        return Err(KernelError::Unsupported {
            what: "number of query heads",
            found: heads,
            allowed: "multiples of the key heads",
        });
    }
    let shape = [q.rows(), heads * cache.dim()];
    q.check(client, "q", shape)?;
    out.check(client, "attention output", shape)?;
    q.dtype().expect("attention output", out.dtype())?;
    q.dtype().expect("key-value cache", cache.dtype())?;
    place.check(q.rows())?;
    Ok(heads)
}
