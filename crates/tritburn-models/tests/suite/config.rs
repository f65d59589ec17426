//! Configurations: what is read, and what is refused by name.

use rstest::rstest;
use serde_json::{Value as Json, json};
use tritburn_formats::file::gguf::{Metadata, Value};
use tritburn_models::DecoderConfig;
use tritburn_models::config::{ConfigError, GgufArchitecture, Quantization};

fn hf(change: impl FnOnce(&mut Json)) -> Result<DecoderConfig, ConfigError> {
    let text = DecoderConfig::b1_58_2b_4t().to_hf_json("bfloat16");
    let mut config = serde_json::from_str(&text).unwrap();
    change(&mut config);
    DecoderConfig::from_hf_json(&config.to_string())
}

/// Keys without the name of the architecture.
fn gguf(entries: &[(&str, Value)]) -> Result<DecoderConfig, ConfigError> {
    let mut metadata = Metadata::new();
    DecoderConfig::b1_58_2b_4t().write_gguf(GgufArchitecture::LlamaCpp, &mut metadata);
    for (key, value) in entries {
        metadata.set(format!("bitnet.{key}"), value.clone());
    }
    DecoderConfig::from_gguf(&metadata, false, Quantization::Online)
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
#[case::linear(&[("rope.scaling.type", text("linear")), ("rope.scaling.factor", Value::F32(4.0))], "linear by 4")]
#[case::no_type(&[("rope.scaling.factor", Value::F32(2.0))], "linear by 2")]
#[case::older_key(&[("rope.scale_linear", Value::F32(8.0))], "linear by 8")]
#[case::yarn(&[("rope.scaling.type", text("yarn"))], "yarn by 1")]
fn a_gguf_rope_that_scales_is_refused(#[case] entries: &[(&str, Value)], #[case] what: &str) {
    let error = gguf(entries).unwrap_err();
    assert!(
        matches!(&error, ConfigError::Unsupported { found, .. } if found == what),
        "{error}"
    );
}

#[rstest]
#[case(json!({ "rope_type": "linear", "factor": 1.0 }), None)]
#[case(json!({ "type": "linear" }), None)]
#[case(json!({ "rope_type": "linear", "factor": 2.0 }), Some("linear by 2"))]
#[case(json!({ "rope_type": "llama3", "factor": 1.0 }), Some("llama3 by 1"))]
fn a_hugging_face_rope_is_read_if_it_scales_by_one(
    #[case] rope: Json,
    #[case] refused: Option<&str>,
    #[values("rope_parameters", "rope_scaling")] field: &str,
) {
    let error = hf(|config| config[field] = rope).err();
    let found = error.as_ref().map(|error| match error {
        ConfigError::Unsupported { found, .. } => found.as_str(),
        other => panic!("{other}"),
    });
    assert_eq!(found, refused);
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
    let other = gguf(&[("hidden_activation", text("silu"))]).unwrap_err();
    assert!(
        other
            .to_string()
            .contains("bitnet.hidden_activation is silu"),
        "{other}"
    );

    let mut whole = Metadata::new();
    DecoderConfig::b1_58_2b_4t().write_gguf(GgufArchitecture::LlamaCpp, &mut whole);
    let mut without = Metadata::new();
    for (key, value) in whole.iter().filter(|(key, _)| !key.ends_with("activation")) {
        without.set(key, value.clone());
    }
    let absent = DecoderConfig::from_gguf(&without, false, Quantization::Online).unwrap_err();
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
