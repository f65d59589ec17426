//! The tensors of a decoder by what they are for.

use std::fmt;

use crate::config::DecoderConfig;

/// A linear layer of a decoder layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// Of each query head, before it is rotated.
    Query(usize),
    /// Of each key head, before it is rotated.
    Key(usize),
    /// Of the attention's output, before `o`.
    AttentionSub(usize),
    /// Before the feed-forward part.
    PostAttention(usize),
    /// Of the gated product, before `down`.
    FfnSub(usize),
    /// Of what attention gives, before it is added to the residual stream.
    AttentionResult(usize),
    /// Of what the feed-forward part gives, before it is added.
    FfnResult(usize),
    /// Of the input of a projection, behind whatever norm is before it.
    Projection(usize, Projection),
    /// Before the output head.
    Final,
}

impl Norm {
    /// The layer that it belongs to; `None` for the final one.
    pub fn layer(self) -> Option<usize> {
        match self {
            Self::Input(layer)
            | Self::Query(layer)
            | Self::Key(layer)
            | Self::AttentionSub(layer)
            | Self::PostAttention(layer)
            | Self::FfnSub(layer)
            | Self::AttentionResult(layer)
            | Self::FfnResult(layer)
            | Self::Projection(layer, _) => Some(layer),
            Self::Final => None,
        }
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
            Norm::Input(_)
            | Norm::PostAttention(_)
            | Norm::AttentionResult(_)
            | Norm::FfnResult(_)
            | Norm::Final => self.hidden_size,
            Norm::Query(_) | Norm::Key(_) => self.head_dim,
            Norm::AttentionSub(_) => self.query_size(),
            Norm::FfnSub(_) => self.intermediate_size,
            Norm::Projection(_, projection) => self.projection_shape(projection)[1],
        }
    }

    /// Whether a projection adds a bias.
    pub fn has_bias(&self, projection: Projection) -> bool {
        match projection {
            Projection::Q | Projection::K | Projection::V => self.biases.qkv,
            Projection::O => self.biases.output,
            Projection::Gate | Projection::Up | Projection::Down => self.biases.ffn,
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

    /// Norms of one layer, in the order of the forward pass.
    pub fn norms_of_layer(&self, layer: usize) -> Vec<Norm> {
        let mut norms = vec![Norm::Input(layer)];
        if self.head_norms {
            norms.extend([Norm::Query(layer), Norm::Key(layer)]);
        }
        if self.sub_norms {
            norms.push(Norm::AttentionSub(layer));
        }
        if self.post_norms {
            norms.push(Norm::AttentionResult(layer));
        }
        norms.push(Norm::PostAttention(layer));
        if self.sub_norms {
            norms.push(Norm::FfnSub(layer));
        }
        if self.post_norms {
            norms.push(Norm::FfnResult(layer));
        }
        if self.projection_norm_eps.is_some() {
            norms.extend(Projection::ALL.map(|projection| Norm::Projection(layer, projection)));
        }
        norms
    }

    /// Every norm, layer by layer.
    pub fn norms(&self) -> impl Iterator<Item = Norm> {
        let layers = (0..self.num_hidden_layers).flat_map(|layer| self.norms_of_layer(layer));
        layers.chain([Norm::Final])
    }

    /// Every projection that adds a bias, with its layer.
    pub fn biased(&self) -> impl Iterator<Item = (usize, Projection)> {
        self.projections()
            .filter(|&(_, projection)| self.has_bias(projection))
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
