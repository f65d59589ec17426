//! Operands of the training operations, as they cross the backend boundary.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, ExtensionType};
use serde::{Deserialize, Serialize};

use crate::transformer::Heads;

/// Sequences of equal length whose tokens attend to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequences {
    /// Heads of a token.
    pub heads: Heads,
    /// Number of sequences.
    pub batch: usize,
    /// Whether a token sees the tokens up to itself only. CubeCL devices have kernels for these alone.
    pub causal: bool,
}

/// What a gated unit applies to its gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GatedActivation {
    /// `relu(g)²` (So et al. 2021, arXiv 2109.08668), the gate of BitNet b1.58 2B4T.
    #[default]
    SquaredRelu,
    /// `g · σ(g)`, the gate of SwiGLU (Shazeer 2020, arXiv 2002.05202).
    Silu,
    /// `g · Φ(g)` with the normal distribution's Φ (Hendrycks & Gimpel 2016, arXiv 1606.08415).
    Gelu,
    /// GELU with `Φ(g) ≈ σ(√(8/π) · (g + 0.044715 g³))`, as Gemma has it (the same paper).
    GeluTanh,
}

/// A function of rows, computed on the way into the product that follows it.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "cube"))]
pub enum Prologue<B: Backend> {
    /// `gamma · x / √(mean(x²) + epsilon)` of rows `[K]`.
    Norm {
        /// Gains `[K]`, of any float dtype.
        gamma: FloatTensor<B>,
        /// Added to the mean of the squares.
        epsilon: f32,
    },
    /// `f(gate) · up` of rows `[2K]`, the gate first.
    Gate {
        /// f.
        activation: GatedActivation,
    },
    /// The norm of a gated row.
    GateNorm {
        /// f.
        activation: GatedActivation,
        /// Gains `[K]`, of any float dtype.
        gamma: FloatTensor<B>,
        /// Added to the mean of the squares.
        epsilon: f32,
    },
}

impl<B: Backend> Prologue<B> {
    /// Gains, if the rows are normalised.
    pub fn gamma(&self) -> Option<&FloatTensor<B>> {
        match self {
            Self::Norm { gamma, .. } | Self::GateNorm { gamma, .. } => Some(gamma),
            Self::Gate { .. } => None,
        }
    }

    /// Columns of the result for an input of `width` columns.
    pub fn features(&self, width: usize) -> usize {
        match self {
            Self::Norm { .. } => width,
            Self::Gate { .. } | Self::GateNorm { .. } => width / 2,
        }
    }
}

#[cfg(feature = "cube")]
impl PrologueMetadata {
    /// As [`Prologue::features`], for Fusion's lazy registration.
    pub(super) fn features(&self, width: usize) -> usize {
        match self {
            Self::Norm { .. } => width,
            Self::Gate { .. } | Self::GateNorm { .. } => width / 2,
        }
    }

    /// The gradient of the gains, F32, if there are any.
    pub(super) fn gamma_gradient(&self) -> OptionalMetadata {
        use burn::backend::fusion::custom::TensorSpec;
        use burn::tensor::DType;

        match self {
            Self::Norm { gamma, .. } | Self::GateNorm { gamma, .. } => {
                OptionalMetadata::Present(TensorSpec::new(gamma.shape.clone(), DType::F32))
            }
            Self::Gate { .. } => OptionalMetadata::Absent,
        }
    }
}

/// Where the contracted dimension of an operand of a float product lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// `[rows of the result, depth]`.
    Columns,
    /// `[depth, rows of the result]`.
    Rows,
}

/// A float tensor or none.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "cube"))]
pub enum Optional<B: Backend> {
    /// None.
    Absent,
    /// One.
    Present(FloatTensor<B>),
}

impl<B: Backend> Optional<B> {
    /// The tensor as an option.
    pub fn into_option(self) -> Option<FloatTensor<B>> {
        match self {
            Self::Absent => None,
            Self::Present(tensor) => Some(tensor),
        }
    }
}

impl<B: Backend> From<Option<FloatTensor<B>>> for Optional<B> {
    fn from(tensor: Option<FloatTensor<B>>) -> Self {
        tensor.map_or(Self::Absent, Self::Present)
    }
}

/// What the loss of a token is made of, and how many tokens are taken at once.
#[derive(Clone, Debug)]
pub struct LossOptions {
    /// A target that counts for nothing.
    pub ignore: Option<u32>,
    /// Factor of the squared logarithm of the sum.
    pub z_loss: f32,
    /// Tokens whose logits exist at a time, at least one.
    pub chunk: usize,
}

/// Which gradients of the loss somebody will ask for.
#[derive(Clone, Copy, Debug)]
pub struct WantedGradients {
    /// That of the hidden states.
    pub input: bool,
    /// That of the output layer.
    pub table: bool,
}

/// The losses of tokens with the gradients of their sum.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "cube"))]
pub struct LossGradients<B: Backend> {
    /// F32 `[T]`.
    pub losses: FloatTensor<B>,
    /// F32 `[T]`: weights of the targets, 0 where ignored.
    pub weights: FloatTensor<B>,
    /// `[T, K]` in the dtype of the hidden states.
    #[extension_type]
    pub d_input: Optional<B>,
    /// F32 `[V, K]`.
    #[extension_type]
    pub d_table: Optional<B>,
}

/// First and second moment of a parameter's gradients, in its shape and dtype.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "cube"))]
pub enum Moments<B: Backend> {
    /// Before the first step: both zero.
    Absent,
    /// After it.
    Present {
        /// Mean of the gradients.
        first: FloatTensor<B>,
        /// Mean of their squares.
        second: FloatTensor<B>,
    },
}

/// The numbers of a step of AdamW: see [`tritburn::optim`](crate::optim).
#[derive(Clone, Copy, Debug)]
pub struct AdamWStep {
    /// Decay of the first moment.
    pub beta_1: f32,
    /// Decay of the second moment.
    pub beta_2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Weight decay, a rate per learning rate.
    pub weight_decay: f32,
    /// Learning rate.
    pub learning_rate: f64,
    /// Number of the step, from 1.
    pub time: u32,
}

#[cfg(feature = "flex")]
impl AdamWStep {
    /// `1 - betaᵗ` of both moments.
    pub fn corrections(&self) -> (f32, f32) {
        let time = self.time as i32;
        (1.0 - self.beta_1.powi(time), 1.0 - self.beta_2.powi(time))
    }

    /// What a parameter is multiplied with before the update.
    pub fn keep(&self) -> f32 {
        (1.0 - self.learning_rate * f64::from(self.weight_decay)) as f32
    }
}
