//! Storage formats of packed weights: raw bytes or words of one tensor to a [`PackedMatrix`] or an
//! [`AffineMatrix`](crate::AffineMatrix) and back. Files and their containers are not read here.
//!
//! | module | format | codes | scale |
//! |---|---|---|---|
//! | [`hf_bitnet`] | transformers `bitnet` | u8 `[ceil(out / 4), in]` | apart, [`ScaleDirection`] by configuration |
//! | [`bitnet_gpu`] | BitNet GPU int2, fused tensors | bytes, 16×32 blocks | apart, four bf16 |
//! | [`bitmedvit`] | BitMedViT int2, three tile orders | bytes | apart, one bf16, divides |
//! | [`warp_bitnet`] | warp-bitnet ternary, and its older 4-bit form | words `[out, in / 16]` | none |
//! | [`bitnet_triton`] | bitnet-triton | words `[out, ceil(in / 16)]` | f32 per row |
//! | [`burn_q2s`] | Burn's Q2S, packed in u32 | words `[out, in / 16]` | f32 per tensor or block |
//! | [`gguf::tq1_0`] | GGUF TQ1_0 | 54 bytes / 256 | f16 per 256 |
//! | [`gguf::tq2_0`] | GGUF TQ2_0 | 66 bytes / 256 | f16 per 256 |
//! | [`gguf::i2_s`] | GGUF I2_S (BitNet's fork), four variants | 32 bytes / 128 | one f32 in the tail |
//! | [`gguf::q2_0`] | GGUF Q2_0 and PQ2_0 | 18 bytes / 64 or 34 bytes / 128 | f16 per block |
//! | [`gguf::blocks`] | GGUF Q4_0 to Q8_0, Q2_K to Q6_K: to floats only | bytes | f16 per block |
//! | [`gptq`] | GPTQ, v1 and v2: 4, 3 and 2 bits | words, transposed | f16 scale, integer zero per group |
//! | [`awq`] | AWQ: 4 bits | words, interleaved | f16 scale, integer zero per group |
//! | [`int4matmul`] | int4matmul_kernels: 4, 3 and 2 bits, 16:32 sparse | words, transposed | f16 scale and zero per group |
//!
//! # Who reads them
//!
//! `tritburn-models` reads and writes [`hf_bitnet`], [`bitnet_gpu`] and the types of [`gguf`]: what published
//! models come in. The others are archived: [`bitmedvit`], [`warp_bitnet`] with its older form,
//! [`bitnet_triton`], [`int4matmul`], [`burn_q2s`]. No product of this workspace multiplies in their layouts and
//! no model format here holds them; they are kept for interchange, so that weights which those projects packed
//! can be brought into the canonical layout and back without their Python. Each is tested against bytes that
//! the project's own packer wrote, and fuzzed; each is one file that depends on no other, and can go when its
//! project is gone. The last three are no ternary weights: [`gptq`] and [`awq`] give an
//! [`AffineMatrix`](crate::AffineMatrix), [`int4matmul`] a matrix of its own, as it has weights that are not affine,
//! and from that an affine one.
//!
//! [`burn_q2s`] is the bytes of such a tensor, for who reads Burn's records without Burn, and writes the bytes for
//! `to_q2s` of `tritburn`'s packed layers. The way back from a live tensor, `from_q2s`, lets Burn unpack it, since a
//! tensor may be stored in other ways than in words.
//!
//! # Errors
//!
//! A scale inside a [`PackedMatrix`] always multiplies. Decoders check lengths before they
//! allocate and refuse codes without a meaning and scales that are not finite; padding fields come
//! out as [`WeightCode::PADDING`](crate::WeightCode::PADDING). Encoders refuse what a format cannot
//! hold, and round a scale only under [`Rounding::Nearest`].
//!
//! [`PackedMatrix`]: crate::PackedMatrix

mod bit_columns;
mod byte_rows;
mod check;
mod error;
mod flat;
mod grouped;
mod scale;
mod tiles;

pub mod awq;
pub mod bitmedvit;
pub mod bitnet_gpu;
pub mod bitnet_triton;
pub mod burn_q2s;
pub mod gguf;
pub mod gptq;
pub mod hf_bitnet;
pub mod int4matmul;
pub mod warp_bitnet;

pub use error::CodecError;
pub use scale::{Rounding, ScaleDirection};

/// Codes of a format that stores its one scale apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded<T> {
    /// The codes as stored: bytes or words.
    pub data: Vec<T>,
    /// The scale that multiplies: `W = ternary · gamma`.
    pub gamma: f32,
}
