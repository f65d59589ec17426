//! RMSNorm of each query and key head of a fused q|k|v: the q and k norms of Qwen3.

use cubecl::prelude::*;

use crate::device::{DeviceFacts, address, cubes};
use crate::error::KernelError;
use crate::operand::{Buffer, FloatMatrix};

/// Heads of a row of q|k|v.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadNorm {
    /// Query heads.
    pub heads: usize,
    /// Key heads; there are as many value heads.
    pub kv_heads: usize,
    /// Columns of a head.
    pub dim: usize,
    /// Added to the mean square.
    pub eps: f32,
}

/// `gain · (h / sqrt(mean(h²) + eps))` of every query and key head `h` of `qkv`
/// `[T, (heads + 2·kv_heads)·dim]`, computed in f32 and rounded to the type of `qkv`. Value heads are
/// copied. `gains` is f32 `[2·dim]`: the queries' gains, then the keys'. `out` must not alias `qkv`.
/// T = 0 launches nothing.
///
/// # Errors
/// [`KernelError`] if shapes or types differ, or the device lacks the type.
pub fn heads(
    client: &Client,
    qkv: &FloatMatrix,
    gains: &Buffer,
    norm: HeadNorm,
    out: &FloatMatrix,
) -> Result<(), KernelError> {
    let HeadNorm {
        heads,
        kv_heads,
        dim,
        eps,
    } = norm;
    if dim == 0 {
        return Err(KernelError::Unsupported {
            what: "columns of a head",
            found: dim,
            allowed: "1 or more",
        });
    }
    let (rows, all) = (qkv.rows(), heads + 2 * kv_heads);
    qkv.check(client, "qkv", [rows, all * dim])?;
    out.check(client, "qkv with normalised heads", [rows, all * dim])?;
    qkv.dtype()
        .expect("qkv with normalised heads", out.dtype())?;
    gains.check_exact("gains of heads", 2 * dim)?;
    if rows == 0 || all == 0 {
        return Ok(());
    }
    let width = qkv.line_width().min(out.line_width());
    let width = match dim.is_multiple_of(width) {
        true => width,
        false => 1,
    };
    let gain_width = width.min(4);
    let lines = dim / width;
    let device = DeviceFacts::of(client);
    // SAFETY: the buffers cover their operands, and the kernel stays within them.
    unsafe {
        norm_heads::launch_unchecked(
            client,
            cubes(client, rows * all * lines, device.cube_units as usize)?,
            device.cube_dim(),
            address(client, &[qkv.extent(), out.extent()])?,
            width,
            gain_width,
            qkv.lines(width),
            gains.lines(gain_width),
            out.lines(width),
            HeadExtentsLaunch::new(
                rows,
                heads,
                kv_heads,
                qkv.row_stride() / width,
                out.row_stride() / width,
                eps,
            ),
            lines,
            qkv.dtype().elem(),
        );
    }
    Ok(())
}

/// Runtime sizes; lines are of `V` elements.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
struct HeadExtents {
    /// Tokens.
    rows: usize,
    /// Query heads.
    heads: usize,
    /// Key heads.
    kv_heads: usize,
    /// Row stride of qkv, in lines.
    x_stride: usize,
    /// Row stride of the output, in lines.
    y_stride: usize,
    /// Added to the mean square.
    eps: f32,
}

/// One unit per (token, head, line). Every unit adds the squares of the whole head: reading a few hundred
/// bytes again from the cache takes less time than a reduction across units.
#[cube(launch_unchecked, address_type = "dynamic")]
fn norm_heads<F: Float, V: Size, A: Size>(
    qkv: &[Vector<F, V>],
    gains: &[Vector<f32, A>],
    out: &mut [Vector<F, V>],
    extents: HeadExtents,
    #[comptime] lines: usize,
    #[define(F)] _dtype: ElemType,
) {
    let width = V::value();
    let gain_width = A::value();
    let per_line = comptime!(width / gain_width);
    let normed = extents.heads + extents.kv_heads;
    let per_token = (normed + extents.kv_heads) * lines;
    let token = ABSOLUTE_POS / per_token;
    if token < extents.rows {
        let item = ABSOLUTE_POS % per_token;
        let (head, line) = (item / lines, item % lines);
        let start = token * extents.x_stride + head * lines;
        let to = token * extents.y_stride + item;
        if head < normed {
            let mut squares = 0.0f32;
            for i in 0..lines {
                let x = qkv[start + i];
                #[unroll]
                for j in 0..width {
                    let value = f32::cast_from(x.extract(j));
                    squares += value * value;
                }
            }
            let mean = squares / f32::cast_from(comptime!(lines * width));
            let r = 1.0f32 / (mean + extents.eps).sqrt();
            let first = select(head < extents.heads, 0usize, comptime!(lines * per_line));
            let x = qkv[start + line];
            let mut y = Vector::<F, V>::empty();
            #[unroll]
            for i in 0..per_line {
                let gain = gains[first + line * per_line + i];
                #[unroll]
                for j in 0..gain_width {
                    let e = comptime!(i * gain_width + j);
                    let value = f32::cast_from(x.extract(e)) * r;
                    y.insert(e, F::cast_from(gain.extract(j) * value));
                }
            }
            out[to] = y;
        } else {
            out[to] = qkv[start + line];
        }
    }
}
