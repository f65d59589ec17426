//! Llama (Touvron et al. 2023, arXiv 2302.13971) and what has its shape: `transformers/models/llama`.

use super::{FamilyFacts, HfDefaults, no_keys, no_values, nothing, writes_nothing};

pub(super) static FACTS: FamilyFacts = FamilyFacts {
    model_type: "llama",
    class: "LlamaForCausalLM",
    defaults: HfDefaults::LLAMA,
    gain_offset: 0.0,
    slides: false,
    read: nothing,
    write: writes_nothing,
    gguf: &["llama"],
    gguf_interleaved: true,
    read_gguf: no_keys,
    write_gguf: no_values,
};
