//! The tensors of a BitNet model by what they are for.

use std::fmt;

use crate::config::DecoderConfig;

/// A linear layer of a decoder layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Projection {
    Q,
    K,
    V,
    O,
    Gate,
    Up,
    Down,
}

impl Projection {
    /// All of a layer.
    pub const ALL: [Self; 7] = [
        Self::Q,
        Self::K,
        Self::V,
        Self::O,
        Self::Gate,
        Self::Up,
        Self::Down,
    ];
}

impl fmt::Display for Projection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Q => "q",
            Self::K => "k",
            Self::V => "v",
            Self::O => "o",
            Self::Gate => "gate",
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}

/// An RMS norm. Numbers are those of layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Norm {
    /// Before attention.
    Input(usize),
    /// Before the feed-forward part.
    PostAttention(usize),
    /// Of the attention's output, before `o`.
    AttentionSub(usize),
    /// Of the gated product, before `down`.
    FfnSub(usize),
    /// Before the output head.
    Final,
}

impl Norm {
    /// Those of one layer.
    pub fn of_layer(layer: usize) -> [Self; 4] {
        [
            Self::Input(layer),
            Self::PostAttention(layer),
            Self::AttentionSub(layer),
            Self::FfnSub(layer),
        ]
    }
}

/// A table of one row per token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// What tokens become.
    Embedding,
    /// What logits are made with.
    Head,
}

impl DecoderConfig {
    /// Values of a norm.
    pub fn norm_size(&self, norm: Norm) -> usize {
        match norm {
            Norm::Input(_) | Norm::PostAttention(_) | Norm::Final => self.hidden_size,
            Norm::AttentionSub(_) => self.query_size(),
            Norm::FfnSub(_) => self.intermediate_size,
        }
    }

    /// `[out, in]` of a projection.
    pub fn projection_shape(&self, projection: Projection) -> [usize; 2] {
        let (hidden, ffn) = (self.hidden_size, self.intermediate_size);
        match projection {
            Projection::Q => [self.query_size(), hidden],
            Projection::K | Projection::V => [self.key_value_size(), hidden],
            Projection::O => [hidden, self.query_size()],
            Projection::Gate | Projection::Up => [ffn, hidden],
            Projection::Down => [hidden, ffn],
        }
    }

    /// Every norm, in the order of the forward pass.
    pub fn norms(&self) -> impl Iterator<Item = Norm> + use<> {
        let layers = (0..self.num_hidden_layers).flat_map(Norm::of_layer);
        layers.chain([Norm::Final])
    }

    /// Every projection with its layer, in the order of the forward pass.
    pub fn projections(&self) -> impl Iterator<Item = (usize, Projection)> + use<> {
        (0..self.num_hidden_layers).flat_map(|layer| Projection::ALL.map(|p| (layer, p)))
    }

    /// The embedding, and the head where it is another table.
    pub fn tables(&self) -> &'static [Table] {
        match self.tie_word_embeddings {
            true => &[Table::Embedding],
            false => &[Table::Embedding, Table::Head],
        }
    }
}
