//! What is measured: sizes, and how `peers/train.py` is asked for the same.

/// A case with its sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// A whole training step of a language model.
    Step(Model),
    /// Causal attention, forward and backward.
    Attention(Attention),
    /// A linear layer, forward and backward.
    Linear(Linear),
    /// Output layer and cross entropy, forward and backward.
    Loss(Loss),
}

/// Sizes of a language model and of its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// Width of the residual stream.
    pub d_model: usize,
    /// Inner width of the feed-forward part.
    pub d_ff: usize,
    /// Layers.
    pub layers: usize,
    /// Heads of the attention.
    pub heads: usize,
    /// Tokens of a sequence.
    pub context: usize,
    /// Sequences.
    pub batch_size: usize,
    /// Distinct tokens.
    pub vocabulary: usize,
}

/// Sizes of an attention: `[batch_size, heads, context, head_width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention {
    pub batch_size: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub context: usize,
    pub head_width: usize,
}

/// Sizes of a linear layer: `[tokens, inputs]` to `[tokens, outputs]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    pub tokens: usize,
    pub outputs: usize,
    pub inputs: usize,
}

/// Sizes of a loss: `[tokens, d_model]` to a logit for each of `vocabulary`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    pub tokens: usize,
    pub d_model: usize,
    pub vocabulary: usize,
}

/// Which weights a case has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// 2-bit weights and int8 activations.
    Ternary,
    /// Float weights and activations.
    Dense,
}

impl Variant {
    /// As the JSON names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ternary => "ternary",
            Self::Dense => "dense",
        }
    }
}

/// 85 M parameters, 1.3 B parameters.
const GPU_MODELS: [Model; 2] = [
    Model {
        d_model: 768,
        d_ff: 2048,
        layers: 12,
        heads: 12,
        context: 1024,
        batch_size: 16,
        vocabulary: 256,
    },
    Model {
        d_model: 2048,
        d_ff: 5632,
        layers: 24,
        heads: 32,
        context: 2048,
        batch_size: 8,
        vocabulary: 32_768,
    },
];

/// The demo of the language-model example.
const CPU_MODEL: Model = Model {
    d_model: 128,
    d_ff: 384,
    layers: 4,
    heads: 4,
    context: 128,
    batch_size: 16,
    vocabulary: 256,
};

/// The cases of a GPU or of a CPU; a quick run takes the small ones.
pub fn cases(gpu: bool, quick: bool) -> Vec<Case> {
    if quick || !gpu {
        return vec![Case::Step(CPU_MODEL)];
    }
    let attention = |batch_size, heads, kv_heads, context, head_width| {
        Case::Attention(Attention {
            batch_size,
            heads,
            kv_heads,
            context,
            head_width,
        })
    };
    let linear = |outputs, inputs| {
        Case::Linear(Linear {
            tokens: 8192,
            outputs,
            inputs,
        })
    };
    let loss = |vocabulary| {
        Case::Loss(Loss {
            tokens: 16_384,
            d_model: 768,
            vocabulary,
        })
    };
    let mut cases = vec![
        attention(16, 12, 12, 1024, 64),
        attention(8, 32, 32, 2048, 64),
        attention(4, 16, 4, 4096, 128),
        linear(4096, 4096),
        linear(11_008, 4096),
        loss(32_768),
        loss(128_256),
    ];
    cases.extend(GPU_MODELS.map(Case::Step));
    cases
}

impl Case {
    /// As the JSON and `peers/train.py` name it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Step(_) => "step",
            Self::Attention(_) => "attention",
            Self::Linear(_) => "linear",
            Self::Loss(_) => "loss",
        }
    }

    /// Whether `text` is its name, or `name:size` with one of its sizes.
    pub fn is_called(&self, text: &str) -> bool {
        match text.split_once(':') {
            None => text == self.name(),
            Some((name, size)) => {
                let has = |(_, own): (_, usize)| own.to_string() == size;
                name == self.name() && self.sizes().into_iter().any(has)
            }
        }
    }

    /// The weights it is measured with.
    pub fn variants(&self) -> &'static [Variant] {
        match self {
            Self::Step(_) => &[Variant::Ternary, Variant::Dense],
            Self::Attention(_) | Self::Loss(_) => &[Variant::Dense],
            Self::Linear(_) => &[Variant::Ternary],
        }
    }

    /// Tokens of a repetition.
    pub fn tokens(&self) -> usize {
        match self {
            Self::Step(model) => model.batch_size * model.context,
            Self::Attention(sizes) => sizes.batch_size * sizes.context,
            Self::Linear(sizes) => sizes.tokens,
            Self::Loss(sizes) => sizes.tokens,
        }
    }

    /// The sizes as options of `peers/train.py`.
    pub fn sizes(&self) -> Vec<(&'static str, usize)> {
        match *self {
            Self::Step(model) => vec![
                ("d-model", model.d_model),
                ("d-ff", model.d_ff),
                ("layers", model.layers),
                ("heads", model.heads),
                ("context", model.context),
                ("batch-size", model.batch_size),
                ("vocabulary", model.vocabulary),
            ],
            Self::Attention(sizes) => vec![
                ("batch-size", sizes.batch_size),
                ("heads", sizes.heads),
                ("kv-heads", sizes.kv_heads),
                ("context", sizes.context),
                ("head-width", sizes.head_width),
            ],
            Self::Linear(sizes) => vec![
                ("tokens", sizes.tokens),
                ("outputs", sizes.outputs),
                ("inputs", sizes.inputs),
            ],
            Self::Loss(sizes) => vec![
                ("tokens", sizes.tokens),
                ("d-model", sizes.d_model),
                ("vocabulary", sizes.vocabulary),
            ],
        }
    }

    /// Name and sizes, as the command line of `peers/train.py`.
    pub fn arguments(&self) -> Vec<String> {
        let sizes = self.sizes();
        let options = sizes
            .into_iter()
            .flat_map(|(name, size)| [format!("--{name}"), size.to_string()]);
        std::iter::once(self.name().into()).chain(options).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_is_asked_for_the_same_sizes() {
        let case = Case::Linear(Linear {
            tokens: 8,
            outputs: 3,
            inputs: 4,
        });
        assert_eq!(
            case.arguments().join(" "),
            "linear --tokens 8 --outputs 3 --inputs 4"
        );
    }

    #[test]
    fn a_case_is_chosen_by_name_and_by_any_of_its_sizes() {
        let case = Case::Step(GPU_MODELS[0]);
        assert!(case.is_called("step") && case.is_called("step:768"));
        assert!(!case.is_called("loss") && !case.is_called("step:2047"));
        assert!(!case.is_called("loss:768"));
    }

    #[test]
    fn the_script_of_the_peer_knows_every_option() {
        for case in cases(true, false) {
            for (name, _) in case.sizes() {
                let quoted = format!("\"{name}\":");
                assert!(super::super::torch::SCRIPT.contains(&quoted), "{name}");
            }
        }
    }
}
