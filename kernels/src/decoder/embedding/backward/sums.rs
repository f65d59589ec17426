//! Device code: adds the rows of `dy` in the sorted order of their ids.

use cubecl::prelude::*;

/// Tokens of a chunk.
pub(super) const CHUNK: usize = 32;
/// Prefetch depth: rows that a unit has in flight.
const AHEAD: usize = 4;

/// Runtime sizes. Lines are lines of dy.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct SumExtents {
    /// Tokens.
    pub tokens: usize,
    /// Rows of the table.
    pub vocabulary: usize,
    /// Lines of a row.
    pub lines: usize,
    /// Row stride of dy, in lines.
    pub dy_stride: usize,
    /// Row stride of the table, in lines of `P` elements.
    pub table_stride: usize,
}

/// One unit per (chunk, line). The sum of an id that lies within the chunk goes to the table. The sum of
/// an id that began in an earlier chunk goes to `partials[2·chunk]`; of an id that begins here and
/// continues in the next chunk, to `partials[2·chunk + 1]`.
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

/// One unit per (id, line). It writes zeros if no token has the id, and the sum of the partial sums if
/// the id's tokens lie in several chunks.
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

/// Stores `sum`, one line of dy, to the lines of `to` from `at` on.
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
