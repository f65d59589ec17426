//! How affine weights are stored.

use tritburn_formats::affine::Bits;
use tritburn_formats::codec::gptq::StoredZeros;

/// How weights `(code - zero) · scale` are stored, with codes of 2, 3 or 4 bits and groups of inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AffineStorage {
    /// The tensors of [GPTQ](tritburn_formats::codec::gptq).
    Gptq {
        /// Bits of a code.
        bits: Bits,
        /// Inputs of a group; `None` for one group a row.
        group_size: Option<usize>,
        /// What zero points are stored as.
        zeros: StoredZeros,
    },
    /// The tensors of [AWQ](tritburn_formats::codec::awq), 4 bits.
    Awq {
        /// Inputs of a group; `None` for one group a row.
        group_size: Option<usize>,
    },
    /// The [canonical layout](tritburn_formats::affine): a header beside every matrix says its bits and
    /// groups.
    Canonical,
}
