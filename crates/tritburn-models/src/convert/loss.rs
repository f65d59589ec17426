//! What a format cannot hold.

use std::fmt;

use tritburn_formats::codec::gguf::k_quant::KQuant;

use crate::checkpoint::FloatType;

/// Something that a conversion would change.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Loss {
    /// Values of a tensor that are other numbers in the narrower type.
    Values {
        /// Name of the tensor in the target.
        tensor: String,
        /// Type they are written in.
        dtype: FloatType,
        /// How many change.
        count: u64,
    },
    /// A table that is rounded to few bits.
    Blocks {
        /// Name of the tensor in the target.
        tensor: String,
        /// Type of the blocks.
        kind: KQuant,
    },
    /// A scale that is rounded.
    Scale {
        /// Name of the tensor in the target.
        tensor: String,
        /// The scale.
        found: f32,
        /// What it is stored as.
        stored: f32,
    },
    /// Ids that end a sequence beyond the one that the format has room for.
    EndTokens {
        /// Those left out.
        ids: Vec<u32>,
    },
    /// A tokenizer that the format cannot hold; the result has none.
    Tokenizer {
        /// Why.
        reason: String,
    },
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Values {
                tensor,
                dtype,
                count,
            } => write!(f, "{count} values of {tensor} change in {dtype}"),
            Self::Blocks { tensor, kind } => write!(f, "{tensor} is rounded to {kind}"),
            Self::Scale {
                tensor,
                found,
                stored,
            } => write!(f, "the scale {found} of {tensor} is stored as {stored}"),
            Self::EndTokens { ids } => write!(f, "the end tokens {ids:?} are left out"),
            Self::Tokenizer { reason } => write!(f, "the tokenizer is left out: {reason}"),
        }
    }
}
