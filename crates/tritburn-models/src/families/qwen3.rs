//! Qwen3 (Yang et al. 2025, arXiv 2505.09388): `transformers/models/qwen3`.

use super::{FamilyFacts, HfDefaults, no_keys, no_values, nothing, writes_nothing};

pub(super) static FACTS: FamilyFacts = FamilyFacts {
    model_type: "qwen3",
    class: "Qwen3ForCausalLM",
    defaults: HfDefaults {
        head_norms: true,
        head_dim: Some(128),
        ..HfDefaults::LLAMA
    },
    gain_offset: 0.0,
    slides: false,
    read: nothing,
    write: writes_nothing,
    gguf: &["qwen3"],
    gguf_interleaved: false,
    read_gguf: no_keys,
    write_gguf: no_values,
};
