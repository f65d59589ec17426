//! Rotary position embedding of whole sequences, and its inverse, for training.

use cubecl::prelude::*;

use crate::device::{DeviceFacts, address, cubes};
use crate::error::KernelError;
use crate::operand::{Buffer, FloatMatrix};

/// Heads of a row of q|k|v, and the direction of the rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rotation {
    /// Tokens of a sequence: row `t` is at position `t % length`.
    pub length: usize,
    /// Query heads.
    pub heads: usize,
    /// Key heads; there are as many value heads.
    pub kv_heads: usize,
    /// Columns of a head, even.
    pub dim: usize,
    /// Rotates in the opposite direction, which is the gradient's rotation.
    pub inverse: bool,
}

impl Rotation {
    fn check(&self, table: &Buffer) -> Result<(), KernelError> {
        let refuse = |what, found, allowed| {
            Err(KernelError::Unsupported {
                what,
                found,
                allowed,
            })
        };
        if self.dim == 0 || !self.dim.is_multiple_of(2) {
            return refuse("columns of a head", self.dim, "even numbers from 2 on");
        }
        if self.length == 0 {
            return refuse("tokens of a sequence", self.length, "1 or more");
        }
        let positions = (table.len() / self.dim).max(self.length);
        table.check_lines("rotary table", positions * self.dim)
    }
}

/// Rotates the queries and keys of `qkv` `[T, (heads + 2·kv_heads)·dim]` into `out` of the same
/// shape and type, and copies the values. `out` may be `qkv` itself.
/// `table` is f32 `[positions · dim]`, as [`table`](super::table()) makes it, of at least `length`
/// positions. T = 0 launches nothing.
///
/// # Errors
/// [`KernelError`] if shapes or types differ, the table is short, or the device lacks the type.
pub fn rotate(
    client: &Client,
    qkv: &FloatMatrix,
    table: &Buffer,
    rotation: Rotation,
    out: &FloatMatrix,
) -> Result<(), KernelError> {
    let Rotation {
        heads,
        kv_heads,
        dim,
        ..
    } = rotation;
    rotation.check(table)?;
    let rows = qkv.rows();
    let shape = [rows, (heads + 2 * kv_heads) * dim];
    qkv.check(client, "qkv", shape)?;
    out.check(client, "rotated qkv", shape)?;
    qkv.dtype().expect("rotated qkv", out.dtype())?;
    // In place, the values need no copy.
    let moved = heads
        + if out.is_same(qkv) {
            kv_heads
        } else {
            2 * kv_heads
        };
    if rows == 0 || moved == 0 {
        return Ok(());
    }
    let width = qkv.line_width().min(out.line_width());
    let width = if (dim / 2).is_multiple_of(width) {
        width
    } else {
        1
    };
    let table_width = width.min(4);
    let half = dim / 2 / width;
    let device = DeviceFacts::of(client);
    // SAFETY: the buffers cover their operands, and the kernel stays within them.
    unsafe {
        rotate_lines::launch_unchecked(
            client,
            cubes(client, rows * moved * half, device.cube_units as usize)?,
            device.cube_dim(),
            address(client, &[qkv.extent(), out.extent(), table.len()])?,
            width,
            table_width,
            qkv.lines(width),
            table.lines(table_width),
            out.output_lines(qkv, 0, width),
            RotateExtentsLaunch::new(
                rows,
                rotation.length,
                moved,
                heads + kv_heads,
                half,
                qkv.row_stride() / width,
                out.row_stride() / width,
            ),
            rotation.inverse,
            qkv.dtype().elem(),
        );
    }
    Ok(())
}

/// Runtime sizes; lines are of `V` elements.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
struct RotateExtents {
    /// Tokens.
    rows: usize,
    /// Tokens of a sequence.
    length: usize,
    /// Heads of a token that are stored.
    moved: usize,
    /// Heads of a token that are rotated.
    rotated: usize,
    /// Lines of half a head.
    half: usize,
    /// Row stride of qkv, in lines.
    x_stride: usize,
    /// Row stride of `out`, in lines.
    y_stride: usize,
}

/// One unit per (token, head, line of half a head): it rotates the line with the one half a head further.
#[cube(launch_unchecked, address_type = "dynamic")]
fn rotate_lines<F: Float, V: Size, A: Size>(
    qkv: &[Vector<F, V>],
    table: &[Vector<f32, A>],
    out: &mut [Vector<F, V>],
    extents: RotateExtents,
    #[comptime] inverse: bool,
    #[define(F)] _dtype: ElemType,
) {
    let width = V::value();
    let table_width = A::value();
    let per_line = comptime!(width / table_width);
    let half = extents.half;
    let per_token = extents.moved * half;
    let token = ABSOLUTE_POS / per_token;
    if token < extents.rows {
        let item = ABSOLUTE_POS % per_token;
        let (head, line) = (item / half, item % half);
        let column = head * 2 * half + line;
        let low = qkv[token * extents.x_stride + column];
        let high = qkv[token * extents.x_stride + column + half];
        let to = token * extents.y_stride + column;
        if head < extents.rotated {
            let at = (token % extents.length * 2 * half + line) * per_line;
            let mut new_low = Vector::<F, V>::empty();
            let mut new_high = Vector::<F, V>::empty();
            #[unroll]
            for i in 0..per_line {
                let cos = table[at + i];
                let sin = table[at + half * per_line + i];
                #[unroll]
                for j in 0..table_width {
                    let e = comptime!(i * table_width + j);
                    let a = f32::cast_from(low.extract(e));
                    let b = f32::cast_from(high.extract(e));
                    let c = cos.extract(j);
                    let mut s = sin.extract(j);
                    if comptime!(inverse) {
                        s = -s;
                    }
                    new_low.insert(e, F::cast_from(a * c - b * s));
                    new_high.insert(e, F::cast_from(b * c + a * s));
                }
            }
            out[to] = new_low;
            out[to + half] = new_high;
        } else {
            out[to] = low;
            out[to + half] = high;
        }
    }
}
