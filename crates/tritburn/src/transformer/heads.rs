//! The shape of grouped-query attention.

/// Numbers of query and key-value heads and the size of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Heads {
    /// Query heads, a multiple of `key_value`.
    pub query: usize,
    /// Key-value heads.
    pub key_value: usize,
    /// Elements of a head, even.
    pub size: usize,
}

impl Heads {
    /// Columns of all query heads: `query · size`.
    pub fn query_width(&self) -> usize {
        self.query * self.size
    }

    /// Columns of all key (or all value) heads: `key_value · size`.
    pub fn key_value_width(&self) -> usize {
        self.key_value * self.size
    }

    /// Columns of a fused q|k|v projection.
    pub fn fused_width(&self) -> usize {
        self.query_width() + 2 * self.key_value_width()
    }
}
