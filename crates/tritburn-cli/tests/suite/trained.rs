//! The command on the folder of a model that was trained here: no step between.

use std::path::Path;
use std::process::Command;

use burn::tensor::Device;
use tritburn_models::DecoderConfig;
use tritburn_models::config::Quantization;
use tritburn_models::text::TokenizerFiles;
use tritburn_models::trainable::{SaveOptions, TrainableModel, TrainableOptions};

use crate::common::{fail, json, succeed};

/// Writes a byte-level model of random weights, in sizes that every format can hold.
fn save(quantization: Quantization, to: &Path) {
    let config = DecoderConfig {
        vocab_size: 256,
        hidden_size: 256,
        intermediate_size: 512,
        num_hidden_layers: 1,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 64,
        max_position_embeddings: 64,
        bos_token_id: None,
        eos_token_ids: Vec::new(),
        quantization,
        ..DecoderConfig::b1_58_2b_4t()
    };
    let device = Device::flex();
    device.seed(1);
    let model = TrainableModel::new(&config, &TrainableOptions::default(), &device).unwrap();
    let options = SaveOptions {
        tokenizer: TokenizerFiles::bytes().unwrap(),
        ..SaveOptions::default()
    };
    model.save(to, &options).unwrap();
}

#[test]
fn a_trained_folder_is_inspected_run_measured_and_converted() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (model, i2_s, tq2_0) = (path("model"), path("i2_s.gguf"), path("tq2_0.gguf"));
    save(Quantization::Online, model.as_ref());

    let report = json(&["inspect", &model, "--json"]);
    assert_eq!(report["format"], "Hugging Face, master weights");
    assert_eq!(report["problems"], serde_json::json!([]));
    let generate = |model: &str| {
        let ask = ["--prompt", "fn main", "--max-new-tokens", "12", "--json"];
        let said = json(&[&["generate", "--model", model][..], &ask].concat());
        assert_eq!(said["prompt_tokens"], 7, "{said}");
        said["ids"].clone()
    };
    let ids = generate(&model);
    assert_eq!(ids.as_array().unwrap().len(), 7 + 12);

    succeed(&["convert", &model, &i2_s, "--to", "gguf-i2_s"]);
    assert_eq!(generate(&i2_s), ids);
    // The scales of these blocks are f16.
    let refused = fail(&["convert", &model, &tq2_0, "--to", "gguf-tq2_0"]);
    assert!(refused.contains("scale"), "{refused}");
    let lossy = ["--to", "gguf-tq2_0", "--allow-lossy"];
    succeed(&[&["convert", &model, &tq2_0][..], &lossy].concat());
    generate(&tq2_0);
}

#[test]
fn a_float_twin_runs_as_floats_and_is_not_made_ternary() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (model, gguf, half) = (path("model"), path("out.gguf"), path("half"));
    save(Quantization::Dense, model.as_ref());
    let report = json(&["inspect", &model, "--json"]);
    assert_eq!(report["format"], "Hugging Face, float");
    let text = succeed(&["generate", "--model", &model, "--prompt", "fn main"]);
    assert!(!text.is_empty());
    let refused = fail(&["convert", &model, &gguf, "--to", "gguf-i2_s"]);
    assert!(refused.contains("plain float model"), "{refused}");
    let lossy = ["--to", "bf16", "--allow-lossy"];
    succeed(&[&["convert", &model, &half][..], &lossy].concat());
    let report = json(&["inspect", &half, "--json"]);
    assert_eq!(report["format"], "Hugging Face, float");
}

/// Writes beyond a limit fail as on a full disk. `save` is a conversion too.
#[cfg(unix)]
#[test]
fn a_disk_that_fills_up_leaves_the_earlier_folder_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (model, out) = (path("model"), path("out"));
    save(Quantization::Online, model.as_ref());
    succeed(&["convert", &model, &out, "--to", "f32"]);
    let weights = Path::new(&out).join("model.safetensors");
    let before = std::fs::read(&weights).unwrap();

    // Blocks of 512 bytes: room for the tokenizer, not for the weights.
    let limited = "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\"";
    let bin = env!("CARGO_BIN_EXE_tritburn");
    let convert = ["convert", &model, &out, "--to", "f32", "--force"];
    let mut command = Command::new("sh");
    let output = command.args(["-c", limited, bin]).args(convert).output();
    let output = output.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && !said.contains("panicked"),
        "{said}"
    );
    assert!(said.contains("File too large"), "{said}");
    assert_eq!(std::fs::read(&weights).unwrap(), before);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}
