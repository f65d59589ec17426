//! Checked launches of the table's gradient.

use cubecl::prelude::*;

use super::order::{find_starts, merge_blocks, order_blocks};
use super::sums::{CHUNK, SumExtentsLaunch, finish_rows, sum_chunks};
use crate::device::{DeviceFacts, address, cubes};
use crate::error::KernelError;
use crate::operand::{Buffer, FloatMatrix, FloatType};

/// `d_table[v] = Σ dy[t]` over the tokens with `ids[t] = v`, for `dy` `[T, K]` of any float type, `ids`
/// u32 `[T]` and `d_table` f32 `[V, K]`, of which every row is written. Ids that the table lacks
/// contribute nothing. Sums are f32 and added in a fixed order.
///
/// # Errors
/// [`KernelError`] if shapes or types differ, there are more tokens or rows than u32 counts, or the
/// device lacks a type.
pub fn backward(
    client: &Client,
    dy: &FloatMatrix,
    ids: &Buffer,
    d_table: &FloatMatrix,
) -> Result<(), KernelError> {
    let (tokens, cols, vocabulary) = (dy.rows(), dy.cols(), d_table.rows());
    dy.check(client, "gradient of embeddings", [tokens, cols])?;
    d_table.check(client, "gradient of the table", [vocabulary, cols])?;
    FloatType::F32.expect("gradient of the table", d_table.dtype())?;
    ids.check_exact("ids", tokens)?;
    for (what, found) in [("tokens", tokens), ("rows of the table", vocabulary)] {
        if found >= u32::MAX as usize {
            return Err(KernelError::Unsupported {
                what,
                found,
                allowed: "less than 2^32 - 1",
            });
        }
    }
    if vocabulary == 0 {
        return Ok(());
    }
    let sums = Sums {
        client,
        device: DeviceFacts::of(client),
        dy,
        d_table,
    };
    let [sorted_ids, order] = sums.order(ids)?;
    let starts = sums.starts(&sorted_ids)?;
    sums.add(&sorted_ids, &order, &starts)
}

struct Sums<'a> {
    client: &'a Client,
    device: DeviceFacts,
    dy: &'a FloatMatrix,
    d_table: &'a FloatMatrix,
}

impl Sums<'_> {
    fn scratch(&self, len: usize) -> Buffer {
        Buffer::new(self.client.empty(len.max(1) * 4), len)
    }

    fn count(&self, items: usize) -> Result<CubeCount, KernelError> {
        cubes(self.client, items, self.device.cube_units as usize)
    }

    /// Sorts the tokens by id: the sorted ids, and the token of each.
    fn order(&self, ids: &Buffer) -> Result<[Buffer; 2], KernelError> {
        let tokens = ids.len();
        let [block_ids, block_tokens, sorted_ids, order] = [(); 4].map(|()| self.scratch(tokens));
        if tokens == 0 {
            return Ok([sorted_ids, order]);
        }
        let width = match ids.starts_lines() && tokens.is_multiple_of(4) {
            true => 4,
            false => 1,
        };
        let address = address(self.client, &[tokens])?;
        // SAFETY: all buffers hold `tokens` words, past which the kernels do nothing.
        unsafe {
            order_blocks::launch_unchecked(
                self.client,
                self.count(tokens)?,
                self.device.cube_dim(),
                address,
                width,
                ids.lines(width),
                ids.arg(),
                block_ids.arg(),
                block_tokens.arg(),
                tokens,
            );
            merge_blocks::launch_unchecked(
                self.client,
                self.count(tokens)?,
                self.device.cube_dim(),
                address,
                block_ids.arg(),
                block_tokens.arg(),
                sorted_ids.arg(),
                order.arg(),
                tokens,
            );
        }
        Ok([sorted_ids, order])
    }

    /// Where each id begins in the sorted order, and where the last one ends.
    fn starts(&self, sorted_ids: &Buffer) -> Result<Buffer, KernelError> {
        let vocabulary = self.d_table.rows();
        let starts = self.scratch(vocabulary + 1);
        // SAFETY: `starts` has one word more than the table has rows.
        unsafe {
            find_starts::launch_unchecked(
                self.client,
                self.count(vocabulary + 1)?,
                self.device.cube_dim(),
                address(self.client, &[sorted_ids.len(), starts.len()])?,
                sorted_ids.arg(),
                starts.arg(),
                sorted_ids.len(),
                vocabulary,
            );
        }
        Ok(starts)
    }

    fn add(&self, sorted_ids: &Buffer, order: &Buffer, starts: &Buffer) -> Result<(), KernelError> {
        let Self {
            client,
            device,
            dy,
            d_table,
        } = self;
        let (tokens, cols, vocabulary) = (dy.rows(), dy.cols(), d_table.rows());
        let chunks = tokens.div_ceil(CHUNK);
        let partials = self.scratch(2 * chunks * cols);
        // A line of dy covers one or two lines of the table.
        let (width, table_width) = match (dy.line_width(), d_table.line_width()) {
            (1, _) | (_, 1) => (1, 1),
            widths => widths,
        };
        let extents = |width| {
            SumExtentsLaunch::new(
                tokens,
                vocabulary,
                cols / width,
                dy.row_stride() / width,
                d_table.row_stride() / table_width,
            )
        };
        let address = address(client, &[dy.extent(), d_table.extent(), partials.len()])?;
        // SAFETY: the buffers cover the operands' shapes, the order holds indices of tokens, and the
        // kernels access nothing outside of them.
        unsafe {
            if tokens > 0 {
                sum_chunks::launch_unchecked(
                    client,
                    self.count(chunks * (cols / width))?,
                    device.cube_dim(),
                    address,
                    width,
                    table_width,
                    dy.lines(width),
                    sorted_ids.arg(),
                    order.arg(),
                    d_table.lines(table_width),
                    partials.lines(table_width),
                    extents(width),
                    dy.dtype().elem(),
                );
            }
            finish_rows::launch_unchecked(
                client,
                self.count(vocabulary * (cols / table_width))?,
                device.cube_dim(),
                address,
                table_width,
                starts.arg(),
                partials.lines(table_width),
                d_table.lines(table_width),
                extents(table_width),
            );
        }
        Ok(())
    }
}
