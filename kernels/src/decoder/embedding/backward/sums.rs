//! Device code: rows of `dy` in the order of their ids, added up.

use cubecl::prelude::*;

/// Tokens of a chunk.
pub(super) const CHUNK: usize = 32;
/// Rows on their way to a unit.
const AHEAD: usize = 4;

/// Runtime sizes; lines are those of dy.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct SumExtents {
    /// Tokens.
    pub tokens: usize,
    /// Rows of the table.
    pub vocabulary: usize,
    /// Lines of a row.
    pub lines: usize,
    /// Lines between rows of dy.
    pub dy_stride: usize,
    /// Lines of `P` elements between rows of the table.
    pub table_stride: usize,
}

/// Items are (chunk, line). An id that lies within the chunk goes to the table; the sum of one that
/// began before it to `partials[2·chunk]`, of one that began here and goes on to the next.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn sum_chunks<F: Float, V: Size, P: Size>(
    dy: &[Vector<F, V>],
    sorted_ids: &[u32],
    order: &[u32],
    d_table: &mut [Vector<f32, P>],
    partials: &mut [Vector<f32, P>],
    extents: SumExtents,
    #[define(F)] _dtype: ElemType,
) {
    let width = V::value();
    let part = P::value();
    let per_line = comptime!(width / part);
    let chunk = ABSOLUTE_POS / extents.lines;
    let line = ABSOLUTE_POS % extents.lines;
    let first = chunk * comptime!(CHUNK);
    if first < extents.tokens {
        let end = min(first + comptime!(CHUNK), extents.tokens);
        let mut id = sorted_ids[first];
        let mut began_here = first == 0 || sorted_ids[first - min(first, 1)] != id;
        let mut sum = Array::<f32>::new(width);
        #[unroll]
        for j in 0..width {
            sum[j] = 0.0f32;
        }
        let mut at = first;
        while at < end {
            let mut rows = Array::<Vector<F, V>>::new(comptime!(AHEAD));
            #[unroll]
            for a in 0..comptime!(AHEAD) {
                let token = usize::cast_from(order[min(at + a, end - 1)]);
                rows[a] = dy[token * extents.dy_stride + line];
            }
            #[unroll]
            for a in 0..comptime!(AHEAD) {
                if at + a < end {
                    let next = sorted_ids[at + a];
                    if next != id {
                        let known = usize::cast_from(id) < extents.vocabulary;
                        if known && began_here {
                            let to = usize::cast_from(id) * extents.table_stride + line * per_line;
                            write_sum(d_table, to, &sum, width);
                        } else if known {
                            let to = (2 * chunk * extents.lines + line) * per_line;
                            write_sum(partials, to, &sum, width);
                        }
                        id = next;
                        began_here = true;
                        #[unroll]
                        for j in 0..width {
                            sum[j] = 0.0f32;
                        }
                    }
                    #[unroll]
                    for j in 0..width {
                        sum[j] += f32::cast_from(rows[a].extract(j));
                    }
                }
            }
            at += comptime!(AHEAD);
        }
        let goes_on = end < extents.tokens && sorted_ids[min(end, extents.tokens - 1)] == id;
        if usize::cast_from(id) < extents.vocabulary {
            if began_here && !goes_on {
                let to = usize::cast_from(id) * extents.table_stride + line * per_line;
                write_sum(d_table, to, &sum, width);
            } else {
                let slot = 2 * chunk + usize::cast_from(began_here);
                write_sum(
                    partials,
                    (slot * extents.lines + line) * per_line,
                    &sum,
                    width,
                );
            }
        }
    }
}

/// Items are (id, line): zeros where no token has the id, and the sum of all chunks where its tokens
/// lie in several.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn finish_rows<P: Size>(
    starts: &[u32],
    partials: &[Vector<f32, P>],
    d_table: &mut [Vector<f32, P>],
    extents: SumExtents,
) {
    let id = ABSOLUTE_POS / extents.lines;
    let line = ABSOLUTE_POS % extents.lines;
    if id < extents.vocabulary {
        let start = usize::cast_from(starts[id]);
        let end = usize::cast_from(starts[id + 1]);
        let to = id * extents.table_stride + line;
        if start == end {
            d_table[to] = Vector::new(0.0f32);
        } else {
            let first = start / comptime!(CHUNK);
            let last = (end - 1) / comptime!(CHUNK);
            if first < last {
                let mut sum = partials[(2 * first + 1) * extents.lines + line];
                let mut chunk = first + 1;
                while chunk <= last {
                    sum += partials[2 * chunk * extents.lines + line];
                    chunk += 1;
                }
                d_table[to] = sum;
            }
        }
    }
}

/// Stores `sum`, a line of dy, from line `at` on.
#[cube]
fn write_sum<P: Size>(
    to: &mut [Vector<f32, P>],
    at: usize,
    sum: &Array<f32>,
    #[comptime] width: usize,
) {
    let part = P::value();
    let per_line = comptime!(width / part);
    #[unroll]
    for i in 0..per_line {
        let mut out = Vector::<f32, P>::empty();
        #[unroll]
        for j in 0..part {
            out.insert(j, sum[comptime!(i * part + j)]);
        }
        to[at + i] = out;
    }
}
