//! Formats that can be written.

use std::fmt;
use std::str::FromStr;

use super::ConvertError;
use crate::checkpoint::FloatType;

/// A format to convert to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A Hugging Face folder of packed weights: `autobitlinear`, `offline`.
    Hf,
    /// A GGUF file of TQ1_0 weights, 1.69 bits each, for llama.cpp.
    GgufTq1_0,
    /// A GGUF file of TQ2_0 weights, 2.06 bits each, for llama.cpp.
    GgufTq2_0,
    /// A GGUF file of Q2_0 weights, 2.25 bits each with a scale per 64, for llama.cpp from 2026 on.
    GgufQ2_0,
    /// A GGUF file of I2_S weights, for microsoft/BitNet.
    GgufI2S,
    /// tritburn's own folder, see [`checkpoint::tritburn`](crate::checkpoint::tritburn).
    Tritburn,
    /// A folder with the checkpoint of microsoft/BitNet's GPU model.
    BitNetGpu,
    /// A Hugging Face folder of bf16 master weights: `autobitlinear`, `online`; a plain float model
    /// stays one.
    Bf16,
    /// As [`Bf16`](Self::Bf16), with f32 master weights and norms.
    F32,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Hf,
        Self::GgufTq1_0,
        Self::GgufTq2_0,
        Self::GgufQ2_0,
        Self::GgufI2S,
        Self::Tritburn,
        Self::BitNetGpu,
        Self::Bf16,
        Self::F32,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hf => "hf",
            Self::GgufTq1_0 => "gguf-tq1_0",
            Self::GgufTq2_0 => "gguf-tq2_0",
            Self::GgufQ2_0 => "gguf-q2_0",
            Self::GgufI2S => "gguf-i2_s",
            Self::Tritburn => "tritburn",
            Self::BitNetGpu => "bitnet-gpu",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
        }
    }

    /// The type of the float weights that projections are written as; `None` where they are packed.
    pub fn float_weights(self) -> Option<FloatType> {
        match self {
            Self::Bf16 => Some(FloatType::BF16),
            Self::F32 => Some(FloatType::F32),
            _ => None,
        }
    }

    /// What it is and who reads it, in a line.
    pub fn description(self) -> &'static str {
        match self {
            Self::Hf => "Hugging Face folder, uint8 codes: transformers, and most else",
            Self::GgufTq1_0 => "GGUF with TQ1_0 layers, 1.69 bits a weight: llama.cpp",
            Self::GgufTq2_0 => "GGUF with TQ2_0 layers, 2.06 bits a weight: llama.cpp",
            Self::GgufQ2_0 => "GGUF with Q2_0 layers, a scale per 64 weights: llama.cpp of 2026",
            Self::GgufI2S => "GGUF with I2_S layers: bitnet.cpp",
            Self::Tritburn => "tritburn's own folder: the canonical layout, loaded as it is",
            Self::BitNetGpu => "checkpoint of the BitNet GPU kernels",
            Self::Bf16 => "Hugging Face folder with bf16 master weights, to train on",
            Self::F32 => "Hugging Face folder with f32 master weights, to train on",
        }
    }

    /// Whether the result is a single file, not a folder.
    pub fn is_file(self) -> bool {
        matches!(
            self,
            Self::GgufTq1_0 | Self::GgufTq2_0 | Self::GgufQ2_0 | Self::GgufI2S
        )
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Target {
    type Err = ConvertError;

    fn from_str(name: &str) -> Result<Self, ConvertError> {
        let target = Self::ALL.into_iter().find(|t| t.name() == name);
        target.ok_or_else(|| ConvertError::Target {
            found: name.to_string(),
        })
    }
}
