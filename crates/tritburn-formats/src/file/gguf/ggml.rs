//! The block types of GGUF tensors: numbers, names and sizes.
//!
//! Sizes are facts of ggml (`ggml-common.h`), those of `I2_S` of microsoft/BitNet.

use std::fmt;

use crate::file::DType;
use crate::file::dtype::element_count;

macro_rules! block_types {
    ($($name:ident = $id:literal, $text:literal, $elements:literal => $bytes:literal;)*) => {
        /// A block type of ggml: groups of weights along a row that share scales.
        ///
        /// Types that other files have too (floats, integers) are variants of [`DType`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum GgmlType {
            $(#[doc = concat!("`", $text, "`: ", $elements, " weights in ", $bytes, " bytes.")] $name,)*
            /// Ternary codes of a whole tensor, 4 a byte, then one f32 scale in 32 bytes
            /// (microsoft/BitNet's fork of llama.cpp).
            I2S,
            /// A type of which only the number is known; it is listed, but not read.
            Unknown(u32),
        }

        const BLOCK_TYPES: &[(GgmlType, u32, &str, usize, usize)] =
            &[$((GgmlType::$name, $id, $text, $elements, $bytes),)*];
    };
}

block_types! {
    Q4_0 = 2, "Q4_0", 32 => 18;
    Q4_1 = 3, "Q4_1", 32 => 20;
    Q5_0 = 6, "Q5_0", 32 => 22;
    Q5_1 = 7, "Q5_1", 32 => 24;
    Q8_0 = 8, "Q8_0", 32 => 34;
    Q8_1 = 9, "Q8_1", 32 => 40;
    Q2K = 10, "Q2_K", 256 => 84;
    Q3K = 11, "Q3_K", 256 => 110;
    Q4K = 12, "Q4_K", 256 => 144;
    Q5K = 13, "Q5_K", 256 => 176;
    Q6K = 14, "Q6_K", 256 => 210;
    Q8K = 15, "Q8_K", 256 => 292;
    Iq2Xxs = 16, "IQ2_XXS", 256 => 66;
    Iq2Xs = 17, "IQ2_XS", 256 => 74;
    Iq3Xxs = 18, "IQ3_XXS", 256 => 98;
    Iq1S = 19, "IQ1_S", 256 => 50;
    Iq4Nl = 20, "IQ4_NL", 32 => 18;
    Iq3S = 21, "IQ3_S", 256 => 110;
    Iq2S = 22, "IQ2_S", 256 => 82;
    Iq4Xs = 23, "IQ4_XS", 256 => 136;
    Iq1M = 29, "IQ1_M", 256 => 56;
    Tq1_0 = 34, "TQ1_0", 256 => 54;
    Tq2_0 = 35, "TQ2_0", 256 => 66;
    Mxfp4 = 39, "MXFP4", 32 => 17;
    Nvfp4 = 40, "NVFP4", 64 => 36;
    Q1_0 = 41, "Q1_0", 128 => 18;
    Q2_0 = 42, "Q2_0", 64 => 18;
    Q2_0G128 = 42, "Q2_0 (128)", 128 => 34;
    Pq2_0 = 142, "PQ2_0", 128 => 34;
    Ptq1_0 = 143, "PTQ1_0", 128 => 28;
}

/// Number of `I2_S` in the fork that has it, in models of any architecture. Upstream ggml used 36 for
/// a repacked `IQ4_NL` once, in memory more than in files; its tensors are larger.
const I2S_ID: u32 = 36;

/// Bytes behind the codes of an `I2_S` tensor: the scale, and padding.
const I2S_TAIL: usize = 32;

impl GgmlType {
    /// The number that files store.
    pub fn id(self) -> u32 {
        match self {
            Self::I2S => I2S_ID,
            Self::Unknown(id) => id,
            known => BLOCK_TYPES.iter().find(|t| t.0 == known).map_or(0, |t| t.1),
        }
    }

    /// The name that ggml and its forks use; "unknown" for a type of which only the number is known.
    pub fn name(self) -> &'static str {
        match self {
            Self::I2S => "I2_S",
            Self::Unknown(_) => "unknown",
            known => BLOCK_TYPES
                .iter()
                .find(|t| t.0 == known)
                .map_or("unknown", |t| t.2),
        }
    }

    /// Weights of a block; `None` as for [`block`](Self::block).
    pub fn block_len(self) -> Option<usize> {
        self.block().map(|block| block.0)
    }

    /// Bytes of a block; `None` as for [`block`](Self::block).
    pub fn block_bytes(self) -> Option<usize> {
        self.block().map(|block| block.1)
    }

    /// Weights and bytes of a block; `None` for `I2_S`, which has none, and for unknown types.
    pub fn block(self) -> Option<(usize, usize)> {
        BLOCK_TYPES.iter().find(|t| t.0 == self).map(|t| (t.3, t.4))
    }

    /// Bytes of a tensor of `shape` (outermost first). `None` if the type is unknown, rows are not
    /// whole blocks, or the number does not fit.
    pub fn byte_len(self, shape: &[usize]) -> Option<usize> {
        let elements = element_count(shape)?;
        if self == Self::I2S {
            return match elements % 4 {
                0 => (elements / 4).checked_add(I2S_TAIL),
                _ => None,
            };
        }
        let (per_block, bytes) = self.block()?;
        match shape.last()? % per_block {
            0 => (elements / per_block).checked_mul(bytes),
            _ => None,
        }
    }

    /// Whether the type's size, and so its data, can be told at all.
    pub fn is_known(self) -> bool {
        !matches!(self, Self::Unknown(_))
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(id) => write!(f, "ggml type {id}"),
            known => f.write_str(known.name()),
        }
    }
}

const PLAIN_TYPES: [(u32, DType); 8] = [
    (0, DType::F32),
    (1, DType::F16),
    (24, DType::I8),
    (25, DType::I16),
    (26, DType::I32),
    (27, DType::I64),
    (28, DType::F64),
    (30, DType::BF16),
];

fn is_bitnet(architecture: &str) -> bool {
    architecture.starts_with("bitnet")
}

/// The type that number `id` means in a model of `architecture`.
///
/// The fork gave 37 to 39 to `I8_S`, `TL1` and `TL2`, whose sizes depend on more than the shape, and
/// upstream reuses 39 and more: those numbers are unknown in a BitNet model.
pub(crate) fn dtype_of(id: u32, architecture: &str) -> DType {
    if let Some(plain) = PLAIN_TYPES.iter().find(|t| t.0 == id) {
        return plain.1;
    }
    let unknown = DType::Ggml(GgmlType::Unknown(id));
    match id {
        I2S_ID => DType::Ggml(GgmlType::I2S),
        37..=39 if is_bitnet(architecture) => unknown,
        _ => {
            let known = BLOCK_TYPES.iter().find(|t| t.1 == id);
            known.map_or(unknown, |t| DType::Ggml(t.0))
        }
    }
}

/// The number of `dtype`; `None` for what GGUF does not hold.
pub(crate) fn id_of(dtype: DType) -> Option<u32> {
    match dtype {
        DType::Ggml(kind) => Some(kind.id()),
        plain => PLAIN_TYPES.iter().find(|t| t.1 == plain).map(|t| t.0),
    }
}
