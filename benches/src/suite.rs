//! What can be measured.

use clap::ValueEnum;

/// A group of cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// Products of 1 to 16 tokens
    Decode,
    /// Products of more than 16 tokens
    Prefill,
    /// Gradients, and a layer's forward and backward pass
    Train,
    /// Whole layers through Burn, cold and hot weights
    Layers,
    /// Whole training steps and their large parts, beside PyTorch's
    Training,
}

impl Suite {
    /// As the command line and the JSON name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Prefill => "prefill",
            Self::Train => "train",
            Self::Layers => "layers",
            Self::Training => "training",
        }
    }
}

/// How the activations of a product reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Input {
    /// W2A8, int8 activations given
    #[value(name = "int8")]
    Int8,
    /// W2A8, floats given, the quantiser in the call
    #[value(name = "int8+quant")]
    Quantised,
    /// W2A16: bf16, or f32 where the device has no bf16
    #[value(name = "float")]
    Float,
}

impl Input {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Int8, Self::Quantised, Self::Float];
}
