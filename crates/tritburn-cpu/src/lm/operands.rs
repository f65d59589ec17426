//! Borrowed operands of the language-model operations, checked when they are made.

use super::element::Element;
use crate::error::{CpuError, area, expect_len};

/// Root-mean-square normalisation `y = γ · (h · 1/sqrt(mean(h²) + ε))` of rows as long as `gamma`.
#[derive(Clone, Copy, Debug)]
pub struct RmsNorm<'a> {
    /// Gains γ, `[K]`.
    pub gamma: &'a [f32],
    /// ε, added to the mean of the squares.
    pub eps: f32,
}

/// Attention heads: `query` of them share `kv` key and value heads, `query / kv` neighbours each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    query: usize,
    kv: usize,
    dim: usize,
}

impl Heads {
    /// Query heads, key and value heads, floats of a head.
    ///
    /// # Errors
    /// [`CpuError::Heads`] if one is zero, `query` is no multiple of `kv`, `dim` is odd, or a token
    /// has more floats than fit.
    pub fn new(query: usize, kv: usize, dim: usize) -> Result<Self, CpuError> {
        let fits = query
            .checked_add(kv.saturating_mul(2))
            .and_then(|heads| heads.checked_mul(dim))
            .is_some();
        let whole =
            kv > 0 && dim > 0 && query > 0 && query.is_multiple_of(kv) && dim.is_multiple_of(2);
        match fits && whole {
            true => Ok(Self { query, kv, dim }),
            false => Err(CpuError::Heads { query, kv, dim }),
        }
    }

    /// Query heads.
    pub fn query(&self) -> usize {
        self.query
    }

    /// Key and value heads.
    pub fn kv(&self) -> usize {
        self.kv
    }

    /// Floats D of a head.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Query heads that share a key head.
    pub(crate) fn group(&self) -> usize {
        self.query / self.kv
    }

    /// Floats of all queries of a token.
    pub(crate) fn query_width(&self) -> usize {
        self.query * self.dim
    }

    /// Floats of all keys, or all values, of a token.
    pub(crate) fn kv_width(&self) -> usize {
        self.kv * self.dim
    }

    /// Floats of the queries, keys and values of a token.
    pub(crate) fn qkv_width(&self) -> usize {
        (self.query + 2 * self.kv) * self.dim
    }
}

/// Where each of T tokens stands: its row of the batch and its position in that row.
#[derive(Clone, Copy, Debug)]
pub struct TokenView<'a> {
    rows: &'a [u32],
    positions: &'a [u32],
}

impl<'a> TokenView<'a> {
    /// Rows and positions, both `[T]`.
    ///
    /// # Errors
    /// [`CpuError::Length`] if they differ in length.
    pub fn new(rows: &'a [u32], positions: &'a [u32]) -> Result<Self, CpuError> {
        expect_len("positions", positions.len(), rows.len())?;
        Ok(Self { rows, positions })
    }

    /// Tokens T.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    #[inline(always)]
    pub(crate) fn row(&self, token: usize) -> usize {
        self.rows[token] as usize
    }

    #[inline(always)]
    pub(crate) fn position(&self, token: usize) -> usize {
        self.positions[token] as usize
    }

    /// Refuses tokens outside `batch` rows of `capacity` positions.
    pub(crate) fn check(&self, batch: usize, capacity: usize) -> Result<(), CpuError> {
        check_indices("rows", self.rows, batch)?;
        check_indices("positions", self.positions, capacity)
    }
}

/// Refuses an index that is not below `limit`.
pub(crate) fn check_indices(
    operand: &'static str,
    indices: &[u32],
    limit: usize,
) -> Result<(), CpuError> {
    match indices.iter().position(|&index| index as usize >= limit) {
        None => Ok(()),
        Some(at) => Err(CpuError::Index {
            operand,
            at,
            found: indices[at] as usize,
            limit,
        }),
    }
}

/// Which blocks of a cache hold the positions of each row: position p of row r is position
/// `p % positions` of block `blocks[r · per_row + p / positions]`. Rows may share blocks.
#[derive(Clone, Copy, Debug)]
pub struct BlockTable<'a> {
    /// Blocks of every row, `[B, per_row]`. Those behind the last position in use may be any.
    pub blocks: &'a [u32],
    /// Blocks of a row.
    pub per_row: usize,
    /// Positions of a block.
    pub positions: usize,
}

/// Where the rows, heads and positions of a cache lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places<'a> {
    /// The blocks of the rows; row r is block r without.
    table: Option<&'a [u32]>,
    batch: usize,
    per_row: usize,
    /// Positions of a block.
    block: usize,
    heads: Heads,
}

impl<'a> Places<'a> {
    /// `[B, Hkv, S, D]`.
    fn rows(
        len: [usize; 2],
        batch: usize,
        capacity: usize,
        heads: Heads,
    ) -> Result<Self, CpuError> {
        let expected = area(area(batch, heads.kv)?, area(capacity, heads.dim)?)?;
        expect_len("keys", len[0], expected)?;
        expect_len("values", len[1], expected)?;
        Ok(Self {
            table: None,
            batch,
            per_row: 1,
            block: capacity,
            heads,
        })
    }

    /// `[blocks, Hkv, positions, D]`.
    fn blocks(len: [usize; 2], table: BlockTable<'a>, heads: Heads) -> Result<Self, CpuError> {
        let BlockTable {
            blocks,
            per_row,
            positions,
        } = table;
        let block = area(heads.kv_width(), positions)?;
        let stored = len[0].checked_div(block).unwrap_or(0);
        expect_len("keys", len[0], stored * block)?;
        expect_len("values", len[1], len[0])?;
        let batch = blocks.len().checked_div(per_row).unwrap_or(0);
        expect_len("block table", blocks.len(), batch * per_row)?;
        check_indices("block table", blocks, stored)?;
        Ok(Self {
            table: Some(blocks),
            batch,
            per_row,
            block: positions,
            heads,
        })
    }

    /// Rows.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Positions of a row.
    pub fn capacity(&self) -> usize {
        self.per_row * self.block
    }

    /// Where a head of a position begins.
    #[inline(always)]
    pub fn of(&self, row: usize, head: usize, position: usize) -> usize {
        let block = match self.table {
            None => row,
            Some(table) => table[row * self.per_row + position / self.block] as usize,
        };
        let plane = block * self.heads.kv + head;
        (plane * self.block + position % self.block) * self.heads.dim
    }

    /// Positions from `position` on, itself included, that follow each other in memory.
    #[inline(always)]
    pub fn together(&self, position: usize) -> usize {
        self.block - position % self.block
    }
}

/// Keys and values of a layer.
#[derive(Clone, Copy, Debug)]
pub struct KvView<'a, E> {
    pub(crate) keys: &'a [E],
    pub(crate) values: &'a [E],
    pub(crate) places: Places<'a>,
    pub(crate) heads: Heads,
}

impl<'a, E: Element> KvView<'a, E> {
    /// Caches `[B, Hkv, S, D]` of `batch` rows of `capacity` positions.
    ///
    /// # Errors
    /// [`CpuError::Length`] if a cache does not fit.
    pub fn new(
        keys: &'a [E],
        values: &'a [E],
        batch: usize,
        capacity: usize,
        heads: Heads,
    ) -> Result<Self, CpuError> {
        let places = Places::rows([keys.len(), values.len()], batch, capacity, heads)?;
        Ok(Self {
            keys,
            values,
            places,
            heads,
        })
    }

    /// Caches `[blocks, Hkv, positions, D]`, of which rows have the blocks that `table` lists.
    ///
    /// # Errors
    /// [`CpuError::Length`] if a cache is not made of whole blocks, [`CpuError::Index`] if it lacks a
    /// block of the table.
    pub fn paged(
        keys: &'a [E],
        values: &'a [E],
        table: BlockTable<'a>,
        heads: Heads,
    ) -> Result<Self, CpuError> {
        let places = Places::blocks([keys.len(), values.len()], table, heads)?;
        Ok(Self {
            keys,
            values,
            places,
            heads,
        })
    }
}

/// Keys and values of a layer to be written.
#[derive(Debug)]
pub struct KvViewMut<'a, E> {
    pub(crate) keys: &'a mut [E],
    pub(crate) values: &'a mut [E],
    pub(crate) places: Places<'a>,
    pub(crate) heads: Heads,
}

impl<'a, E: Element> KvViewMut<'a, E> {
    /// As [`KvView::new`].
    ///
    /// # Errors
    /// As [`KvView::new`].
    pub fn new(
        keys: &'a mut [E],
        values: &'a mut [E],
        batch: usize,
        capacity: usize,
        heads: Heads,
    ) -> Result<Self, CpuError> {
        let places = Places::rows([keys.len(), values.len()], batch, capacity, heads)?;
        Ok(Self {
            keys,
            values,
            places,
            heads,
        })
    }

    /// As [`KvView::paged`].
    ///
    /// # Errors
    /// As [`KvView::paged`].
    pub fn paged(
        keys: &'a mut [E],
        values: &'a mut [E],
        table: BlockTable<'a>,
        heads: Heads,
    ) -> Result<Self, CpuError> {
        let places = Places::blocks([keys.len(), values.len()], table, heads)?;
        Ok(Self {
            keys,
            values,
            places,
            heads,
        })
    }
}
