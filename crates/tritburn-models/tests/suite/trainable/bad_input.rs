//! What cannot be trained is refused with the reason.

use std::fs;

use burn::module::Module;
use burn::tensor::DType;
use rstest::rstest;
use tritburn::Pack;
use tritburn_models::DecoderConfig;
use tritburn_models::checkpoint::{self, CheckpointError, Synthetic};
use tritburn_models::config::{ConfigError, SlidingLayers};
use tritburn_models::text::TokenizerFiles;
use tritburn_models::trainable::{SaveOptions, TrainableError, TrainableModel, TrainableOptions};

use super::{batch, config, ids, model};
use crate::common::devices;

fn new(config: &DecoderConfig) -> Result<TrainableModel, TrainableError> {
    TrainableModel::new(config, &TrainableOptions::default(), &devices()[0])
}

#[rstest]
#[case::no_layers(DecoderConfig { num_hidden_layers: 0, ..config() }, "num_hidden_layers is 0")]
#[case::heads(DecoderConfig { num_key_value_heads: 3, ..config() }, "not a multiple of")]
#[case::odd_heads(DecoderConfig { head_dim: 31, ..config() }, "head_dim is 31")]
#[case::epsilon(DecoderConfig { rms_norm_eps: 0.0, ..config() }, "rms_norm_eps is 0")]
fn sizes_that_do_not_fit_are_refused(#[case] config: DecoderConfig, #[case] reason: &str) {
    let error = new(&config).unwrap_err();
    assert!(matches!(error, TrainableError::Config(_)), "{error}");
    assert!(error.to_string().contains(reason), "{error}");
}

#[test]
fn activations_are_floats() {
    let options = TrainableOptions {
        dtype: DType::I32,
        ..TrainableOptions::default()
    };
    let error = TrainableModel::new(&config(), &options, &devices()[0]).unwrap_err();
    assert!(matches!(
        error,
        TrainableError::ActivationType { found: DType::I32 }
    ));
}

#[test]
fn sequences_and_targets_that_do_not_fit_are_refused() {
    let device = devices().remove(0);
    let model = model(&config(), &device).valid();
    let long = ids(65, 256);
    let inputs = |count| batch(&[&long[..count]], &device);
    let error = model.logits(inputs(65)).unwrap_err();
    assert!(
        matches!(
            error,
            TrainableError::Length {
                found: 65,
                available: 64
            }
        ),
        "{error}"
    );
    assert!(model.logits(inputs(64)).is_ok());
    let error = model.loss(inputs(8), inputs(7)).unwrap_err();
    assert!(
        matches!(
            error,
            TrainableError::Targets {
                inputs: [1, 8],
                targets: [1, 7]
            }
        ),
        "{error}"
    );
    let error = model.loss(inputs(0), inputs(0)).unwrap_err();
    assert!(
        matches!(error, TrainableError::NoTokens { inputs: [1, 0] }),
        "{error}"
    );
}

#[test]
fn a_packed_model_has_no_weights_to_save() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model");
    let packed = model(&config(), &devices()[0]).valid().pack().unwrap();
    let error = packed.save(&out, &SaveOptions::default()).unwrap_err();
    assert!(
        matches!(error, TrainableError::PackedModel { layer: 0 }),
        "{error}"
    );
    assert!(packed.as_checkpoint(&TokenizerFiles::default()).is_err());
    assert!(!out.exists());
}

#[test]
fn synthetic_models_are_codes_without_masters() {
    let synthetic = Synthetic::new(config(), 1).unwrap();
    let options = TrainableOptions::default();
    let error = TrainableModel::from_checkpoint(&synthetic, &options, &devices()[0]).unwrap_err();
    assert!(error.to_string().contains("synthetic"), "{error}");
}

#[test]
fn a_folder_without_a_tensor_or_with_another_configuration_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model");
    let model = model(&config(), &devices()[0]);
    model.save(&out, &SaveOptions::default()).unwrap();
    let config = out.join("config.json");
    let text = fs::read_to_string(&config).unwrap();
    for (found, replaced, named) in [
        (
            "\"num_hidden_layers\": 2",
            "\"num_hidden_layers\": 3",
            "model.layers.2.",
        ),
        (
            "\"intermediate_size\": 384",
            "\"intermediate_size\": 383",
            "mlp",
        ),
    ] {
        assert!(text.contains(found));
        fs::write(&config, text.replace(found, replaced)).unwrap();
        let error = checkpoint::open(&out).err().unwrap();
        assert!(error.to_string().contains(named), "{error}");
    }
    fs::write(
        &config,
        text.replace("\"num_attention_heads\": 4", "\"num_attention_heads\": 0"),
    )
    .unwrap();
    let error = checkpoint::open(&out).err().unwrap();
    assert!(
        matches!(
            error,
            CheckpointError::Config {
                source: ConfigError::Divides { .. } | ConfigError::Range { .. },
                ..
            }
        ),
        "{error}"
    );
}

/// What runs and does not train is refused by its name, ahead of everything that takes long.
#[test]
fn parts_without_gradients_are_refused_by_name() {
    let device = devices().swap_remove(0).autodiff();
    let with = |change: fn(&mut DecoderConfig)| {
        let mut config = config();
        change(&mut config);
        TrainableModel::new(&config, &TrainableOptions::default(), &device).unwrap_err()
    };
    for (error, named) in [
        (
            with(|c| c.head_norms = true),
            "norms of query and key heads",
        ),
        (
            with(|c| c.projection_norm_eps = Some(1e-6)),
            "a norm in every projection",
        ),
        (with(|c| c.biases.qkv = true), "biases"),
        (with(|c| c.post_norms = true), "norms behind"),
        (
            with(|c| {
                c.sliding = Some(SlidingLayers {
                    window: 8,
                    rope_theta: 10_000.0,
                    layers: vec![true; c.num_hidden_layers],
                });
            }),
            "sliding layers",
        ),
        (
            with(|c| c.multipliers.residual = 0.5),
            "constant multipliers",
        ),
        (with(|c| c.partial_rotary_factor = 0.5), "rotated in part"),
    ] {
        assert!(matches!(error, TrainableError::Untrainable { .. }));
        assert!(error.to_string().contains(named), "{error}");
    }
}
