//! How a checkpoint is brought to a device.

use burn::tensor::{DType, Device};
use serde::{Deserialize, Serialize};
use tritburn::InputPrecision;
use tritburn::formats::codec::gguf::k_quant::KQuant;
use tritburn::ops::captures_graphs;

use super::error::ModelError;
use crate::config::{DecoderConfig, Quantization};

/// What the projections of a model multiply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Precision {
    /// 2-bit weights and int8 activations, as BitNet b1.58 is trained. Master weights are quantised
    /// while they are loaded.
    #[default]
    W2A8,
    /// 2-bit weights and float activations.
    W2A16,
    /// Dense float weights, nothing quantised: master weights as they are stored, packed ones
    /// unpacked.
    Dense,
    /// Weights of 2, 3 or 4 bits with groups, as they are stored, and float activations.
    Affine,
}

impl Precision {
    /// What a model was trained in: dense weights where it has plain floats, which were not trained
    /// to be ternary, affine ones where it has those, else 2-bit weights with the inputs that its
    /// configuration names.
    pub fn of(config: &DecoderConfig) -> Self {
        match (config.quantization.is_ternary(), config.inputs) {
            _ if matches!(config.quantization, Quantization::Affine(_)) => Self::Affine,
            (false, _) => Self::Dense,
            (true, InputPrecision::Float) => Self::W2A16,
            (true, _) => Self::W2A8,
        }
    }

    /// Precision of the inputs of 2-bit weights; `None` for others.
    pub fn input_precision(self) -> Option<InputPrecision> {
        match self {
            Self::W2A8 => Some(InputPrecision::Int8),
            Self::W2A16 => Some(InputPrecision::Float),
            Self::Dense | Self::Affine => None,
        }
    }

    /// Refuses a model that cannot be run so: affine weights run as they are, or dense, and no others
    /// do.
    pub(super) fn check(self, quantization: Quantization) -> Result<(), ModelError> {
        let affine = matches!(quantization, Quantization::Affine(_));
        let fits = match self {
            Self::Dense => true,
            Self::Affine => affine,
            Self::W2A8 | Self::W2A16 => !affine,
        };
        match fits {
            true => Ok(()),
            false => Err(ModelError::Precision {
                asked: self,
                stored: quantization,
            }),
        }
    }
}

/// Precision of the embedding table when it serves as the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HeadPrecision {
    /// As the checkpoint stores it. Tables in blocks of Q4_K, Q5_K and Q6_K stay in them on the CPU and become
    /// floats on GPUs.
    #[default]
    Stored,
    /// Int8 with one scale per vocabulary entry: half the bytes to read per token, logits off by
    /// about half a percent of their scale.
    Int8,
    /// 6 bits a weight in blocks of Q6_K: 0.41 of the bytes of 16 bits. CPU only.
    Int6,
    /// 4 bits a weight in blocks of Q4_K: 0.28 of the bytes of 16 bits. CPU only.
    Int4,
}

impl HeadPrecision {
    /// The blocks of a head that is kept in such.
    pub(super) fn k_quant(self) -> Option<KQuant> {
        match self {
            Self::Stored | Self::Int8 => None,
            Self::Int6 => Some(KQuant::Q6K),
            Self::Int4 => Some(KQuant::Q4K),
        }
    }
}

/// How a checkpoint is brought to a device.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// What the projections multiply; what the checkpoint asks for ([`Precision::of`]) if `None`.
    pub precision: Option<Precision>,
    /// Element type of hidden states and norms: f32, bf16, or f16. The reference arithmetic is f32
    /// everywhere; tensors between operations are rounded to this type.
    pub dtype: DType,
    /// Element type of cached keys and values; that of the hidden states if `None`. CubeCL devices
    /// take no other.
    pub cache_dtype: Option<DType>,
    /// Precision of the head.
    pub head: HeadPrecision,
}

impl LoadOptions {
    /// What runs best on `device`: bf16 hidden states on GPUs that compute with them, else f32.
    pub fn for_device(device: &Device) -> Self {
        let half = captures_graphs(device) && device.supports_dtype(DType::BF16);
        Self {
            dtype: if half { DType::BF16 } else { DType::F32 },
            ..Self::default()
        }
    }
}

impl Default for LoadOptions {
    /// The precision of the checkpoint, in f32.
    fn default() -> Self {
        Self {
            precision: None,
            dtype: DType::F32,
            cache_dtype: None,
            head: HeadPrecision::default(),
        }
    }
}
