//! Sizes of the attention, and the checks of its operands.

use cubecl::prelude::*;

use crate::error::KernelError;
use crate::operand::{Buffer, FloatMatrix};

/// Sizes of a batch of sequences of one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttentionShape {
    /// Sequences.
    pub batch: usize,
    /// Tokens of a sequence.
    pub length: usize,
    /// Query heads.
    pub heads: usize,
    /// Heads of keys and values; each serves `heads / kv_heads` query heads in a row.
    pub kv_heads: usize,
    /// Dimension of a head.
    pub dim: usize,
}

impl AttentionShape {
    /// Tokens of all sequences: the rows of every matrix.
    pub const fn tokens(&self) -> usize {
        self.batch.saturating_mul(self.length)
    }

    /// Columns of queries, keys and values side by side.
    pub const fn qkv_cols(&self) -> usize {
        let heads = self.kv_heads.saturating_mul(2).saturating_add(self.heads);
        heads.saturating_mul(self.dim)
    }

    /// Columns of an output.
    pub const fn out_cols(&self) -> usize {
        self.heads.saturating_mul(self.dim)
    }

    /// Rows of scores: a token and a query head each.
    pub const fn rows(&self) -> usize {
        self.tokens().saturating_mul(self.heads)
    }

    /// Checks that heads can be shared.
    fn check(&self) -> Result<(), KernelError> {
        let refuse = |what, found, allowed| {
            Err(KernelError::Unsupported {
                what,
                found,
                allowed,
            })
        };
        if self.dim == 0 {
            return refuse("head dimension", 0, "at least 1");
        }
        if self.kv_heads == 0 {
            return refuse("number of key heads", 0, "at least 1");
        }
        if self.heads == 0 || !self.heads.is_multiple_of(self.kv_heads) {
            let allowed = "multiples of the key heads";
            return refuse("number of query heads", self.heads, allowed);
        }
        Ok(())
    }

    /// Checks the operands of both passes.
    pub(super) fn check_forward(
        &self,
        client: &Client,
        qkv: &FloatMatrix,
        out: &FloatMatrix,
        statistics: &Buffer,
    ) -> Result<(), KernelError> {
        self.check()?;
        qkv.check(client, "qkv", [self.tokens(), self.qkv_cols()])?;
        out.check(client, "attention output", [self.tokens(), self.out_cols()])?;
        qkv.dtype().expect("attention output", out.dtype())?;
        statistics.check_exact("attention statistics", self.rows())
    }

    /// Checks the gradients.
    pub(super) fn check_backward(
        &self,
        client: &Client,
        qkv: &FloatMatrix,
        d_out: &FloatMatrix,
        d_qkv: &FloatMatrix,
    ) -> Result<(), KernelError> {
        let shape = [self.tokens(), self.out_cols()];
        d_out.check(client, "gradient of the attention output", shape)?;
        d_qkv.check(client, "gradient of qkv", [self.tokens(), self.qkv_cols()])?;
        let dtype = qkv.dtype();
        dtype.expect("gradient of the attention output", d_out.dtype())?;
        dtype.expect("gradient of qkv", d_qkv.dtype())
    }
}
