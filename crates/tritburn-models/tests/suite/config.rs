//! Configurations: what is read, and what is refused by name.

use rstest::rstest;
use serde_json::{Value as Json, json};
use tritburn_formats::file::gguf::{Metadata, Value};
use tritburn_models::DecoderConfig;
use tritburn_models::config::{
    ConfigError, Family, GatedActivation, GgufFacts, Quantization, RopeScaling, SlidingLayers,
};

fn hf(change: impl FnOnce(&mut Json)) -> Result<DecoderConfig, ConfigError> {
    let text = DecoderConfig::b1_58_2b_4t().to_hf_json("bfloat16");
    let mut config = serde_json::from_str(&text).unwrap();
    change(&mut config);
    DecoderConfig::from_hf_json(&config.to_string())
}

fn facts() -> GgufFacts {
    GgufFacts::bitnet(Quantization::Online)
}

/// Keys without the name of the architecture.
fn gguf(entries: &[(&str, Value)]) -> Result<DecoderConfig, ConfigError> {
    let mut metadata = Metadata::new();
    DecoderConfig::b1_58_2b_4t()
        .write_gguf("bitnet", &mut metadata)
        .unwrap();
    for (key, value) in entries {
        metadata.set(format!("bitnet.{key}"), value.clone());
    }
    DecoderConfig::from_gguf(&metadata, facts())
}

fn text(text: &str) -> Value {
    Value::String(text.to_string())
}

#[rstest]
#[case::no_type(&[])]
#[case::none(&[("rope.scaling.type", text("none")), ("rope.scaling.factor", Value::F32(4.0))])]
#[case::linear(&[("rope.scaling.type", text("linear"))])]
#[case::linear_by_one(&[("rope.scaling.type", text("linear")), ("rope.scaling.factor", Value::F32(1.0))])]
#[case::zero_is_none(&[("rope.scaling.factor", Value::F32(0.0))])]
fn a_gguf_rope_that_scales_by_one_is_read(#[case] entries: &[(&str, Value)]) {
    gguf(entries).unwrap();
}

#[rstest]
#[case::linear(&[("rope.scaling.type", text("linear")), ("rope.scaling.factor", Value::F32(4.0))], 4.0)]
#[case::no_type(&[("rope.scaling.factor", Value::F32(2.0))], 2.0)]
#[case::older_key(&[("rope.scale_linear", Value::F32(8.0))], 8.0)]
fn a_gguf_rope_that_scales_is_read(#[case] entries: &[(&str, Value)], #[case] factor: f64) {
    let config = gguf(entries).unwrap();
    assert_eq!(config.rope_scaling, RopeScaling::Linear { factor });
}

#[test]
fn an_unknown_rope_is_refused_by_its_name() {
    let error = gguf(&[("rope.scaling.type", text("spiral"))]).unwrap_err();
    assert!(
        matches!(&error, ConfigError::Unsupported { found, .. } if found == "spiral by 1"),
        "{error}"
    );
    let dynamic = hf(|config| config["rope_scaling"] = json!({ "type": "dynamic", "factor": 2.0 }));
    let error = dynamic.unwrap_err();
    assert!(
        matches!(&error, ConfigError::Unsupported { found, .. } if found == "dynamic by 2"),
        "{error}"
    );
}

#[rstest]
#[case(json!({ "rope_type": "linear", "factor": 1.0 }), RopeScaling::None)]
#[case(json!({ "rope_type": "linear", "type": "linear", "factor": 4.0 }), RopeScaling::Linear { factor: 4.0 })]
#[case(json!({ "rope_type": "linear", "factor": 2.0 }), RopeScaling::Linear { factor: 2.0 })]
#[case(
    json!({
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }),
    RopeScaling::Llama3 {
        factor: 8.0,
        low_frequency_factor: 1.0,
        high_frequency_factor: 4.0,
        original_positions: 8192,
    }
)]
fn a_hugging_face_rope_is_read_and_written(
    #[case] rope: Json,
    #[case] scaling: RopeScaling,
    #[values("rope_parameters", "rope_scaling")] field: &str,
) {
    let config = hf(|config| config[field] = rope).unwrap();
    assert_eq!(config.rope_scaling, scaling);
    let again = DecoderConfig::from_hf_json(&config.to_hf_json("float32")).unwrap();
    assert_eq!(again, config);
}

#[rstest]
#[case(json!({ "rope_type": "llama3", "factor": 8.0 }), "rope_scaling.low_freq_factor is missing")]
#[case(json!({ "type": "linear" }), "rope_scaling.factor is missing")]
#[case(json!({ "factor": 2.0 }), "rope_scaling.rope_type is missing")]
#[case(json!({ "full_attention": { "rope_type": "linear" } }), "a set for each kind of layer")]
#[case(json!({ "rope_type": "linear", "factor": 1e-300 }), "not a positive number")]
#[case(json!({ "rope_type": 3 }), "rope_scaling.rope_type: invalid type")]
fn what_is_wrong_with_a_rope_is_told_by_name(#[case] rope: Json, #[case] said: &str) {
    let error = hf(|config| config["rope_scaling"] = rope)
        .unwrap_err()
        .to_string();
    assert!(error.contains(said), "{error}");
}

/// A value of another type is no absent one.
#[rstest]
#[case("hidden_activation", Value::U32(3))]
#[case("rope.scaling.type", Value::U32(1))]
#[case("embedding_length", text("2560"))]
#[case("rope.freq_base", text("500000"))]
fn gguf_keys_of_another_type_are_refused_by_name(#[case] key: &str, #[case] value: Value) {
    let error = gguf(&[(key, value)]).unwrap_err().to_string();
    assert!(error.contains(&format!("bitnet.{key} is")), "{error}");
}

#[test]
fn fields_of_another_type_are_refused_by_name() {
    for (key, value) in [
        ("vocab_size", json!(true)),
        ("eos_token_id", json!(1.5)),
        ("quantization_config", json!(5)),
    ] {
        let error = hf(|config| config[key] = value).unwrap_err();
        assert!(
            matches!(&error, ConfigError::Field { field, .. } if field == key),
            "{error}"
        );
    }
    for text in ["[]", "5"] {
        let error = DecoderConfig::from_hf_json(text).unwrap_err();
        assert!(error.to_string().contains("an object"), "{error}");
    }
}

/// As many elements as the file says are rotated, whatever their share rounds to.
#[test]
fn every_part_of_a_head_can_be_rotated() {
    for head_dim in (2..=256).step_by(2) {
        for rotated in (2..=head_dim).step_by(2) {
            let entries = [
                ("attention.key_length", Value::U32(head_dim)),
                ("attention.value_length", Value::U32(head_dim)),
                ("rope.dimension_count", Value::U32(rotated)),
            ];
            let config = gguf(&entries).unwrap();
            assert_eq!(config.rotary_dim(), rotated as usize, "of {head_dim}");
        }
    }
}

/// Every family reads what it writes, and its defaults are its own.
#[test]
fn families_read_what_they_write() {
    for family in Family::ALL {
        let config = DecoderConfig {
            family,
            hidden_act: GatedActivation::Silu,
            sub_norms: family == Family::BitNet,
            post_norms: family == Family::Gemma3,
            head_norms: matches!(family, Family::Qwen3 | Family::Gemma3),
            sliding: (family == Family::Gemma3).then(|| SlidingLayers {
                window: 512,
                rope_theta: 20_000.0,
                layers: (1..=30).map(|layer| layer % 6 != 0).collect(),
            }),
            biases: tritburn_models::config::Biases {
                qkv: family == Family::Qwen2,
                ..Default::default()
            },
            multipliers: match family {
                Family::MiniCpm => tritburn_models::config::Multipliers {
                    embedding: 12.0,
                    residual: 0.25,
                    queries: 1.0,
                    logits: 0.1,
                },
                Family::Gemma3 => tritburn_models::config::Multipliers {
                    embedding: 2560f64.sqrt(),
                    queries: 0.5,
                    ..Default::default()
                },
                _ => Default::default(),
            },
            quantization: Quantization::Online,
            ..DecoderConfig::b1_58_2b_4t()
        };
        let text = config.to_hf_json("bfloat16");
        assert_eq!(
            DecoderConfig::from_hf_json(&text).unwrap(),
            config,
            "{family}"
        );
        let mut metadata = Metadata::new();
        let architecture = match family {
            Family::BitNet => "bitnet".to_string(),
            Family::Gemma3 => "gemma3".to_string(),
            family => family.to_string(),
        };
        config.write_gguf(&architecture, &mut metadata).unwrap();
        let facts = GgufFacts {
            sub_norms: config.sub_norms,
            post_norms: config.post_norms,
            head_norms: config.head_norms,
            biases: config.biases,
            ..facts()
        };
        let read = DecoderConfig::from_gguf(&metadata, facts).unwrap();
        assert_eq!((read.family, read.hidden_act), (family, config.hidden_act));
        let logits = read.multipliers.logits / config.multipliers.logits;
        assert!((logits - 1.0).abs() < 1e-6, "{family}: {logits}");
        let queries = read.multipliers.queries / config.multipliers.queries;
        assert!((queries - 1.0).abs() < 1e-6, "{family}: {queries}");
        assert_eq!(read.sliding, config.sliding);
    }
}

#[rstest]
#[case("relu2", GatedActivation::SquaredRelu)]
#[case("swish", GatedActivation::Silu)]
#[case("gelu", GatedActivation::Gelu)]
#[case("gelu_new", GatedActivation::GeluTanh)]
#[case("gelu_pytorch_tanh", GatedActivation::GeluTanh)]
fn gates_are_known_by_the_names_of_transformers(
    #[case] name: &str,
    #[case] expected: GatedActivation,
) {
    let read = hf(|config| config["hidden_act"] = json!(name)).unwrap();
    assert_eq!(read.hidden_act, expected);
    let again = DecoderConfig::from_hf_json(&read.to_hf_json("bfloat16")).unwrap();
    assert_eq!(again.hidden_act, expected);
    let other = hf(|config| config["hidden_act"] = json!("quick_gelu")).unwrap_err();
    assert!(other.to_string().contains("quick_gelu"), "{other}");
}

/// Gemma 3 as transformers wrote it before and since rotations have a set for each kind of layer.
#[test]
fn sliding_layers_are_read_in_both_spellings() {
    let gemma = |changes: Json| {
        let mut config = json!({
            "model_type": "gemma3_text", "vocab_size": 96, "hidden_size": 64,
            "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 2,
            "num_key_value_heads": 1, "head_dim": 32, "max_position_embeddings": 256,
        });
        for (key, value) in changes.as_object().unwrap() {
            config[key] = value.clone();
        }
        DecoderConfig::from_hf_json(&config.to_string())
    };
    let old = gemma(json!({
        "sliding_window": 40, "sliding_window_pattern": 2, "rope_local_base_freq": 500.0,
        "rope_theta": 7000.0, "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    }));
    let new = gemma(json!({
        "sliding_window": 40,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 7000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
        },
    }));
    let old = old.unwrap();
    assert_eq!(old, new.unwrap());
    assert_eq!(old.rope_scaling, RopeScaling::Linear { factor: 8.0 });
    assert_eq!((old.rope_theta, old.longest_sequence()), (7000.0, 40));
    let sliding = old.sliding.unwrap();
    assert_eq!(sliding.layers, [true, false, true, false]);
    assert_eq!(sliding.rope_theta, 500.0);

    // transformers does not read the key of other families.
    let default = gemma(json!({ "hidden_act": "silu" })).unwrap();
    assert_eq!(default.longest_sequence(), 256);
    assert_eq!(default.hidden_act, GatedActivation::GeluTanh);
    // Heads of 32, scores divided by the root of 256.
    assert_eq!(default.multipliers.queries, 0.125f64.sqrt());
    for (key, value) in [
        ("layer_types", json!(["full_attention"])),
        ("layer_types", json!(["chunked_attention"])),
        ("sliding_window_pattern", json!(0)),
        ("final_logit_softcapping", json!(30.0)),
        ("use_bidirectional_attention", json!(true)),
        (
            "rope_parameters",
            json!({ "sliding_attention": {"rope_type": "linear", "factor": 2.0} }),
        ),
    ] {
        let error = gemma(json!({ key: value })).unwrap_err();
        assert!(error.to_string().contains(key), "{error}");
    }
}

#[rstest]
#[case("num_experts", json!(8))]
#[case("sliding_window", json!(512))]
#[case("qk_rms_clip", json!(10.0))]
#[case("layer_types", json!(["full_attention", "sliding_attention"]))]
fn what_would_compute_something_else_is_refused_by_name(#[case] key: &str, #[case] value: Json) {
    let error = hf(|config| config[key] = value).unwrap_err();
    assert!(
        matches!(error, ConfigError::Unsupported { field, .. } if field == key),
        "{error}"
    );
}

#[rstest]
#[case(json!(-1), &[])]
#[case(json!([5, -1, 7]), &[5, 7])]
fn minus_one_is_no_token(#[case] ids: Json, #[case] expected: &[u32]) {
    assert_eq!(
        hf(|config| config["eos_token_id"] = ids)
            .unwrap()
            .eos_token_ids,
        expected
    );
    let error = hf(|config| config["eos_token_id"] = json!(-2)).unwrap_err();
    assert!(error.to_string().contains("eos_token_id is -2"), "{error}");
}

#[test]
fn a_size_may_be_a_list_of_one_value() {
    use tritburn_formats::file::gguf::Array;

    let list = |values: Vec<i32>| Value::Array(Array::I32(values));
    let config = gguf(&[("feed_forward_length", list(vec![256; 30]))]).unwrap();
    assert_eq!(config.intermediate_size, 256);
    let error = gguf(&[("feed_forward_length", list(vec![256, 128]))]).unwrap_err();
    assert!(
        error.to_string().contains("bitnet.feed_forward_length"),
        "{error}"
    );
}

#[test]
fn the_base_of_the_rotation_may_stand_at_the_top() {
    let config = hf(|config| {
        config.as_object_mut().unwrap().remove("rope_parameters");
        config["rope_theta"] = json!(10_000.0);
    });
    assert_eq!(config.unwrap().rope_theta, 10_000.0);
    let newer = hf(|config| config["rope_theta"] = json!(10_000.0));
    assert_eq!(
        newer.unwrap().rope_theta,
        500_000.0,
        "rope_parameters count"
    );
}

#[test]
fn an_activation_that_gguf_does_not_name_is_refused_by_its_key() {
    let other = gguf(&[("hidden_activation", text("quick_gelu"))]).unwrap_err();
    assert!(
        other
            .to_string()
            .contains("bitnet.hidden_activation is quick_gelu"),
        "{other}"
    );
    let silu = gguf(&[("hidden_activation", text("silu"))]).unwrap();
    assert_eq!(silu.hidden_act, GatedActivation::Silu);

    let mut whole = Metadata::new();
    DecoderConfig::b1_58_2b_4t()
        .write_gguf("bitnet", &mut whole)
        .unwrap();
    let mut without = Metadata::new();
    for (key, value) in whole.iter().filter(|(key, _)| !key.ends_with("activation")) {
        without.set(key, value.clone());
    }
    let absent = DecoderConfig::from_gguf(&without, facts()).unwrap_err();
    assert!(
        absent
            .to_string()
            .contains("bitnet.hidden_activation is absent"),
        "{absent}"
    );
}

/// The rotary table has a row for each.
#[rstest]
#[case(128, 1 << 20)]
#[case(1024, 1 << 18)]
fn more_positions_than_memory_are_refused(#[case] head_dim: usize, #[case] most: usize) {
    let config = |max_position_embeddings| DecoderConfig {
        max_position_embeddings,
        head_dim,
        ..DecoderConfig::b1_58_2b_4t()
    };
    config(most).validate().unwrap();
    let error = config(most + 1).validate().unwrap_err();
    assert!(
        matches!(
            error,
            ConfigError::Range { field: "max_position_embeddings", value, max, .. }
                if (value, max) == (most + 1, most)
        ),
        "{error}"
    );
}
