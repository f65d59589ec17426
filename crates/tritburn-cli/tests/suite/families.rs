//! Models of other families, and files that need a word from the user.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::*;

fn family(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tritburn-models/tests/data")
        .join(name)
}

fn generate(model: &Path, more: &[&str]) -> Value {
    let mut args = vec![
        "generate",
        "--model",
        path(model),
        "--ids",
        "1,5,9",
        "-n",
        "6",
    ];
    args.extend(["--ignore-eos", "--json", "--device", "flex"]);
    args.extend(more);
    json(&args)["ids"].clone()
}

/// A copy of the toy BitNet with another configuration.
fn changed(form: &str, change: impl FnOnce(&mut Value)) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&toy(form), folder.path());
    let file = folder.path().join("config.json");
    let mut config = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    change(&mut config);
    fs::write(&file, config.to_string()).unwrap();
    folder
}

#[test]
fn families_run_and_say_what_they_are() {
    for (name, model_type) in [
        ("llama-packed", "llama"),
        ("llama-gptq-int4", "llama"),
        ("llama-gptq-int3-act-order", "llama"),
        ("qwen3-groups", "qwen3"),
        ("minicpm-groups", "minicpm"),
        ("bitnet-silu", "bitnet"),
    ] {
        let folder = family(name);
        assert_eq!(
            generate(&folder, &[]).as_array().unwrap().len(),
            9,
            "{name}"
        );
        let report = json(&["inspect", path(&folder), "--json"]);
        assert_eq!(report["model"], model_type);
        assert_eq!(report["problems"], json!([]), "{name}");
    }
}

/// A trainer that dropped `quantization_config` leaves a float model, unless the user knows better.
#[test]
fn a_dropped_section_can_be_given_back() {
    let dropped = changed("bf16", |config| {
        config
            .as_object_mut()
            .unwrap()
            .remove("quantization_config");
    });
    let expected = generate(&toy("bf16"), &[]);
    let online = ["--override", "quantization=online"];
    assert_eq!(generate(dropped.path(), &online), expected);
    let to = dropped.path().join("packed");
    let message = fail(&["convert", path(dropped.path()), path(&to), "--to", "hf"]);
    assert!(message.contains("plain float model"), "{message}");
    assert!(
        message.contains("--override quantization=online"),
        "{message}"
    );
    let mut args = vec!["convert", path(dropped.path()), path(&to), "--to", "hf"];
    args.extend(online);
    succeed(&args);
    assert_eq!(generate(&to, &[]), expected);
}

#[test]
fn wrong_keys_can_be_overridden() {
    let wrong = changed("packed", |config| {
        config["rope_theta"] = json!(7.0);
        config["rope_parameters"] = json!(null);
        config["hidden_act"] = json!("silu");
    });
    let expected = generate(&toy("packed"), &[]);
    assert_ne!(generate(wrong.path(), &[]), expected);
    let sound =
        serde_json::from_slice::<Value>(&fs::read(toy("packed").join("config.json")).unwrap());
    let sound = sound.unwrap();
    let theta = sound["rope_theta"]
        .as_f64()
        .or(sound["rope_parameters"]["rope_theta"].as_f64());
    let theta = format!("rope_theta={}", theta.unwrap());
    let right = ["--override", &theta, "--override", "hidden_act=relu2"];
    assert_eq!(generate(wrong.path(), &right), expected);
    let message = fail(&["inspect", path(wrong.path()), "--override", "rope_theta"]);
    assert!(message.contains("expected KEY=VALUE"), "{message}");
}

/// What another program may compute differently is refused or warned about, not guessed.
#[test]
fn unknown_parts_are_refused_by_name() {
    for (key, value) in [("num_experts", json!(8)), ("model_type", json!("mamba"))] {
        let folder = changed("packed", |config| config[key] = value.clone());
        let message = fail(&["generate", "--model", path(folder.path()), "--ids", "1"]);
        let named = if key == "model_type" { "mamba" } else { key };
        assert!(message.contains(named), "{message}");
    }
}

#[test]
fn weights_with_groups_are_described() {
    let shown = succeed(&["inspect", path(&family("llama-gptq-int3-act-order"))]);
    assert!(shown.contains("Hugging Face, GPTQ"), "{shown}");
    let weights = "3 bits in groups of 64, zero points, act order";
    assert!(shown.contains(weights), "{shown}");
}

#[test]
fn a_float_model_is_rounded_to_weights_with_groups() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("int3");
    let model = family("gemma3");
    let base = ["convert", path(&model), path(&output), "--to", "tritburn"];
    let message = fail(&base);
    assert!(message.contains("--weights int4"), "{message}");
    let message = fail(&[&base[..], &["--group", "32"]].concat());
    assert!(message.contains("--weights"), "{message}");
    let rounds = ["--weights", "int3", "--group", "32", "--json"];
    let report = json(&[&base[..], &rounds].concat());
    assert_eq!(
        (&report["projections"], &report["verified"]),
        (&json!(21), &json!(true))
    );
    assert_eq!(generate(&output, &[]).as_array().unwrap().len(), 9);
    let report = json(&["inspect", path(&output), "--json"]);
    assert_eq!(report["format"], "tritburn, affine");
    assert_eq!(report["affine"]["bits"], json!([3]));
    assert_eq!(report["affine"]["group_size"], json!([32]));
    assert_eq!(report["problems"], json!([]));
}

/// Each way of rounding gives a folder that runs, and says what it did to the weights.
#[test]
fn float_models_are_rounded_by_the_method_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let model = family("gemma3");
    let round = |name: &str, options: &[&str]| {
        let output = folder.path().join(name);
        let base = ["convert", path(&model), path(&output), "--to", "tritburn"];
        let rounding = ["--weights", "int4", "--group", "32", "--json"];
        let report = json(&[&base[..], &rounding, options].concat());
        let rounded = report["rounded"].as_array().unwrap().clone();
        assert_eq!(rounded.len(), 21);
        assert_eq!(generate(&output, &[]).as_array().unwrap().len(), 9);
        let error = |projection: &Value| projection["relative_error"].as_f64().unwrap();
        let bits = rounded[0]["bits_per_weight"].as_f64().unwrap();
        (rounded.iter().map(error).sum::<f64>() / 21.0, bits)
    };
    // 4 bits, and 16 for a scale of 32 weights; 16 more for a zero point.
    let (rounds, bits) = round("round", &[]);
    assert_eq!(bits, 5.0);
    let (symmetric, bits) = round("symmetric", &["--method", "symmetric"]);
    assert_eq!(bits, 4.5);
    let (hqq, bits) = round("hqq", &["--method", "hqq"]);
    assert_eq!(bits, 5.0);
    // Real zero points fit better than integers, and these better than none.
    let errors = [hqq, rounds, symmetric];
    assert!(
        errors.is_sorted() && hqq < rounds && symmetric < 0.12,
        "{errors:?}"
    );
    let (sparse, bits) = round("sparse", &["--sparse"]);
    assert_eq!(bits, 4.0);
    assert!((0.2..0.5).contains(&sparse), "{sparse}");
    let output = folder.path().join("refused");
    let base = ["convert", path(&model), path(&output), "--to", "tritburn"];
    let message = fail(&[&base[..], &["--weights", "int3", "--sparse"]].concat());
    assert!(message.contains("3 bits"), "{message}");
    let message = fail(&[&base[..], &["--method", "hqq"]].concat());
    assert!(message.contains("--weights"), "{message}");
    assert!(!output.exists());
}
