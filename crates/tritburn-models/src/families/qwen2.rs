//! Qwen2 (Yang et al. 2024, arXiv 2407.10671): `transformers/models/qwen2`.

use super::{FamilyFacts, HfDefaults, no_keys, no_values, nothing, writes_nothing};

pub(super) static FACTS: FamilyFacts = FamilyFacts {
    model_type: "qwen2",
    class: "Qwen2ForCausalLM",
    defaults: HfDefaults {
        qkv_bias: true,
        ..HfDefaults::LLAMA
    },
    gain_offset: 0.0,
    slides: false,
    read: nothing,
    write: writes_nothing,
    gguf: &["qwen2"],
    gguf_interleaved: false,
    read_gguf: no_keys,
    write_gguf: no_values,
};
