//! Checked launch of the argmax.

use cubecl::prelude::*;

use super::kernel::{ArgmaxExtentsLaunch, argmax};
use crate::device::{DeviceFacts, address, cubes};
use crate::device_code::team::{Fold, Team};
use crate::error::KernelError;
use crate::operand::{Buffer, FloatMatrix, FloatType};

/// Device memory in which the cubes of a row exchange their partial results. Allocated once and reused
/// by launches of up to as many tokens, which must not overlap.
#[derive(Clone, Debug)]
pub struct ArgmaxScratch {
    partials: Buffer,
    counters: Buffer,
    tokens: usize,
}

impl ArgmaxScratch {
    /// Most cubes of a row.
    const PARTS: usize = 128;

    /// Allocates scratch for `tokens` rows.
    pub fn new(client: &Client, tokens: usize) -> Self {
        let tokens = tokens.max(1);
        let partials = 2 * Self::PARTS * tokens;
        let counters = client.create_from_slice(u32::as_bytes(&vec![0u32; tokens]));
        Self {
            partials: Buffer::new(client.empty(partials * 4), partials),
            counters: Buffer::new(counters, tokens),
            tokens,
        }
    }

    /// Most rows of a launch.
    pub fn tokens(&self) -> usize {
        self.tokens
    }
}

/// What the draws of a [`launch_draw`] depend on.
#[derive(Clone, Copy, Debug)]
pub struct Draws<'a> {
    /// Three u32 for each row: the bits of its temperature, an f32 (0 takes the largest value), and two words of
    /// seed.
    pub draws: &'a Buffer,
    /// Position of each row's token, u32: each has noise of its own.
    pub positions: &'a Buffer,
}

/// `ids[t] = argmax_v x[t, v]` for `x` f32 `[T, V]`; ties go to the lowest column. A row that holds NaN
/// gives `V`, which is no column. T = 0 launches nothing.
///
/// # Errors
/// [`KernelError`] if shapes differ, x is not f32, or `scratch` was made for fewer tokens.
pub fn launch(
    client: &Client,
    x: &FloatMatrix,
    ids: &Buffer,
    scratch: &ArgmaxScratch,
) -> Result<(), KernelError> {
    choose(client, x, None, ids, scratch)
}

/// As [`launch`], of `x[t, v]` plus the row's temperature times Gumbel noise: column `v` is chosen with
/// probability `softmax(x[t] / temperature)[v]` (the Gumbel-max trick: Gumbel 1954; Maddison, Tarlow and Minka,
/// arXiv 1411.0030). A row's draw depends on its own values, seed and position alone.
///
/// # Errors
/// As [`launch`], and if `draws` has other lengths than `[3T]` and `[T]`.
pub fn launch_draw(
    client: &Client,
    x: &FloatMatrix,
    draws: Draws<'_>,
    ids: &Buffer,
    scratch: &ArgmaxScratch,
) -> Result<(), KernelError> {
    draws.draws.check_exact("draws", 3 * x.rows())?;
    draws.positions.check_exact("positions", x.rows())?;
    choose(client, x, Some(draws), ids, scratch)
}

fn choose(
    client: &Client,
    x: &FloatMatrix,
    draws: Option<Draws<'_>>,
    ids: &Buffer,
    scratch: &ArgmaxScratch,
) -> Result<(), KernelError> {
    let (tokens, cols) = (x.rows(), x.cols());
    x.check(client, "logits", [tokens, cols])?;
    FloatType::F32.expect("logits", x.dtype())?;
    ids.check_exact("ids", tokens)?;
    if tokens > scratch.tokens {
        return Err(KernelError::Length {
            operand: "argmax scratch",
            expected: tokens,
            found: scratch.tokens,
        });
    }
    if cols >= u32::MAX as usize {
        return Err(KernelError::Unsupported {
            what: "columns of logits",
            found: cols,
            allowed: "less than 2^32 - 1",
        });
    }
    if tokens == 0 {
        return Ok(());
    }
    let device = DeviceFacts::of(client);
    let team = Team::new(client, &device);
    let width = x.line_width();
    // A few lines per unit: with more cubes the last one would wait longer than it reads.
    let shared = client.features().device_memory_scope && team.fold != Fold::Alone;
    let parts = match shared {
        true => cols
            .div_ceil(team.units * width * 2)
            .clamp(1, ArgmaxScratch::PARTS),
        false => 1,
    };
    let part = cols.div_ceil(parts).next_multiple_of(width);
    // SAFETY: the buffers cover their operands, and the kernel stays within them.
    unsafe {
        argmax::launch_unchecked(
            client,
            cubes(client, tokens * parts, team.rows())?,
            CubeDim::new_1d(team.units as u32),
            address(client, &[x.extent()])?,
            width,
            x.lines(width),
            draws.map(|draws| draws.draws.arg()).into(),
            draws.map(|draws| draws.positions.arg()).into(),
            ids.arg(),
            scratch.partials.arg(),
            scratch.counters.arg(),
            ArgmaxExtentsLaunch::new(tokens, cols, x.row_stride(), parts, part),
            parts > 1,
            team,
        );
    }
    Ok(())
}
