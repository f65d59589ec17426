//! Checked launch of the rotary kernel.

use cubecl::prelude::*;

use super::kernel::{RotaryExtentsLaunch, rotary};
use crate::device::{DeviceFacts, address, cubes};
use crate::error::KernelError;
use crate::operand::KvCache;
use crate::operand::{Buffer, FloatMatrix};

/// The cache row and position of each token. They are read on the device, so that a captured launch can
/// be replayed with other values.
#[derive(Clone, Copy, Debug)]
pub struct Placement<'a> {
    /// Row of the cache of each token, u32 `[T]`.
    pub rows: &'a Buffer,
    /// Position of each token in its row, u32 `[T]`.
    pub positions: &'a Buffer,
}

impl Placement<'_> {
    pub(crate) fn check(&self, tokens: usize) -> Result<(), KernelError> {
        self.rows.check_exact("rows", tokens)?;
        self.positions.check_exact("positions", tokens)
    }
}

/// The table that [`launch`] reads, for `positions` positions of heads of `dim` columns: row `p` holds
/// the cosines of `p / theta^(2i / dim)` for `i < dim / 2`, then the sines. Angles are f32, as in
/// `tritburn::transformer::rotary_table` and Hugging Face transformers.
pub fn table(positions: usize, dim: usize, theta: f32) -> Vec<f32> {
    let frequencies: Vec<f32> = (0..dim / 2)
        .map(|i| 1.0 / theta.powf((2 * i) as f32 / dim as f32))
        .collect();
    let mut table = Vec::with_capacity(positions * dim);
    for position in 0..positions {
        let angles = || frequencies.iter().map(|f| position as f32 * f);
        table.extend(angles().map(f32::cos));
        table.extend(angles().map(f32::sin));
    }
    table
}

/// Rotates the heads of `qkv` `[T, (Hq + 2·Hkv)·D]`: queries, times `q_scale`, into `q` `[T, Hq·D]`,
/// keys into `cache`, where values are copied too. `table` is f32 `[P, D]`, as [`table`](table())
/// makes it. Tokens whose row or position the cache lacks are not stored; positions past the table
/// take its last row. T = 0 launches nothing.
///
/// # Errors
/// [`KernelError`] if shapes or types differ, or the device lacks the type.
pub fn launch(
    client: &Client,
    qkv: &FloatMatrix,
    table: &Buffer,
    place: Placement<'_>,
    q: &FloatMatrix,
    q_scale: f32,
    cache: &KvCache,
) -> Result<(), KernelError> {
    let (tokens, dim, kv_heads) = (qkv.rows(), cache.dim(), cache.heads());
    let heads = (q.cols() / dim).max(1);
    q.check(client, "q", [tokens, heads * dim])?;
    qkv.check(client, "qkv", [tokens, (heads + 2 * kv_heads) * dim])?;
    qkv.dtype().expect("q", q.dtype())?;
    qkv.dtype().expect("key-value cache", cache.dtype())?;
    place.check(tokens)?;
    let table_rows = (table.len() / dim).max(1);
    table.check_lines("rotary table", table_rows * dim)?;
    if tokens == 0 {
        return Ok(());
    }
    // A line must not cross the middle of a head.
    let width = qkv.line_width().min(q.line_width());
    let width = width.min(1 << (dim / 2).trailing_zeros());
    let half = dim / 2 / width;
    let items = tokens * (heads + 2 * kv_heads) * half;
    let device = DeviceFacts::of(client);
    // There are few items: small cubes spread them over the multiprocessors.
    let units = match device.lockstep {
        true => device.cube_units.min(64),
        false => device.cube_units,
    };
    let table_width = width.min(4);
    // SAFETY: the buffers cover their operands, and the kernel stays within them.
    unsafe {
        rotary::launch_unchecked(
            client,
            cubes(client, items, units as usize)?,
            CubeDim::new_1d(units),
            address(client, &[qkv.extent(), cache.elements(), table.len()])?,
            width,
            table_width,
            qkv.lines(width),
            table.lines(table_width),
            place.rows.arg(),
            place.positions.arg(),
            q.lines(width),
            cache.key_lines(width),
            cache.value_lines(width),
            cache.table(place.rows).arg(),
            RotaryExtentsLaunch::new(
                tokens,
                heads,
                cache.batch(),
                cache.positions(),
                cache.blocks(),
                table_rows,
                qkv.row_stride() / width,
                q.row_stride() / width,
                q_scale,
            ),
            kv_heads,
            half,
            cache.block(),
            qkv.dtype().elem(),
        );
    }
    Ok(())
}
