//! The shape of grouped-query attention.

use crate::error::Error;

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

    /// Refuses heads that attention with rotary embedding cannot be made of.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.check_if(self.size.is_multiple_of(2))
    }

    /// Refuses heads that attention without rotary embedding cannot be made of.
    pub(crate) fn check_unrotated(&self) -> Result<(), Error> {
        self.check_if(true)
    }

    fn check_if(&self, size_fits: bool) -> Result<(), Error> {
        let Self {
            query,
            key_value,
            size,
        } = *self;
        match query > 0 && key_value > 0 && size > 0 && query.is_multiple_of(key_value) && size_fits
        {
            true => Ok(()),
            false => Err(Error::Heads {
                query,
                key_value,
                size,
            }),
        }
    }

    /// Whether the kernels of CubeCL devices take heads of this size.
    pub(crate) fn has_kernels(&self) -> bool {
        self.size.is_multiple_of(2) && (2..=256).contains(&self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(query: usize, key_value: usize, size: usize) -> Heads {
        Heads {
            query,
            key_value,
            size,
        }
    }

    #[test]
    fn heads_that_do_not_fit_each_other_are_refused() {
        assert!(heads(4, 2, 6).check().is_ok());
        for wrong in [
            heads(0, 1, 6),
            heads(4, 0, 6),
            heads(4, 2, 0),
            heads(4, 3, 6),
            heads(4, 2, 5),
        ] {
            assert!(
                matches!(wrong.check(), Err(Error::Heads { .. })),
                "{wrong:?}"
            );
        }
    }
}
