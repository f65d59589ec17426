//! `tritburn inspect`.

use std::fs;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;

use crate::common::*;

#[test]
fn inspect_tells_the_codes_that_master_weights_get() {
    let [masters, packed] =
        ["bf16", "packed"].map(|form| json(&["inspect", path(&toy(form)), "--json"]));
    assert_eq!(masters["master_weights"], true);
    assert_eq!(packed["master_weights"], false);
    assert_eq!(masters["codes"], packed["codes"], "one model, in two forms");
    assert_eq!(masters["bits_per_weight"], 16.0);
    for i in 0..2 {
        let [a, b] = [&masters, &packed].map(|report| report["scales"][i].as_f64().unwrap());
        assert!((a / b - 1.0).abs() < 0.01, "{a} and {b}");
    }
    let printed = succeed(&["inspect", path(&toy("bf16"))]);
    assert!(printed.contains("codes, once quantised"), "{printed}");
    assert!(!printed.contains("problem"), "{printed}");
}

#[test]
fn inspect_finds_what_is_no_number() {
    let folder = tempfile::tempdir().unwrap();
    copy(&toy("bf16"), folder.path());
    let weights = folder.path().join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let places = {
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let start = |name: &str| {
            let data = tensors.tensor(name).unwrap().data();
            data.as_ptr() as usize - bytes.as_ptr() as usize
        };
        let embedding = start("model.embed_tokens.weight");
        // Two values of the embedding and one of a norm.
        [embedding, embedding + 2 * 4000, start("model.norm.weight")]
    };
    for (place, value) in places.into_iter().zip([0x7fc0u16, 0xff80, 0x7f80]) {
        bytes[place..place + 2].copy_from_slice(&value.to_le_bytes());
    }
    fs::write(&weights, bytes).unwrap();
    let output = tritburn(&["inspect", path(folder.path()), "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("get the file again"));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let problems = report["problems"].as_array().unwrap();
    let mut problems: Vec<_> = problems.iter().map(|p| p.as_str().unwrap()).collect();
    problems.sort_unstable();
    assert_eq!(
        problems,
        [
            "model.embed_tokens.weight: 2 values are NaN or infinite",
            "model.norm.weight: 1 values are NaN or infinite",
        ]
    );
}

#[test]
fn inspect_chooses_none_of_several_gguf_files() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["a.gguf", "b.gguf"].map(|name| folder.path().join(name));
    for file in &files {
        succeed(&["convert", "synthetic:tiny", path(file), "--to", "gguf-i2_s"]);
    }
    for args in [
        &["inspect", path(folder.path())][..],
        &["generate", "--ids", "1", "-m", path(folder.path())],
    ] {
        let message = fail(args);
        assert!(message.contains("2 .gguf files"), "{message}");
        assert!(message.contains(path(&files[0])), "{message}");
    }
}

#[test]
fn inspect_says_what_is_no_weights() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("picture.jpg");
    fs::write(&picture, b"\xff\xd8\xff\xe0\x00\x10JFIF\x00 and more").unwrap();
    let message = fail(&["inspect", path(&picture)]);
    assert!(message.contains("JPEG picture"), "{message}");
    let config = toy("packed").join("config.json");
    for args in [
        &["inspect", path(&config)][..],
        &["generate", "--ids", "1", "-m", path(&config)],
    ] {
        let message = fail(args);
        assert!(message.contains("not weights"), "{message}");
    }
    let message = fail(&["inspect", "/nowhere"]);
    assert_eq!(message.matches("/nowhere").count(), 1, "{message}");
    let message = fail(&["generate", "-m", "/nowhere", "--ids", "1"]);
    let reasons = message.matches("No such file").count();
    assert!(reasons <= 1, "{message}");
}

#[test]
fn inspect_escapes_names() {
    let folder = tempfile::tempdir().unwrap();
    let tensor = TensorView::new(Dtype::F32, vec![1], &[0, 0, 0xc0, 0x7f]).unwrap();
    let bytes = safetensors::serialize([("a\u{1b}[31mred", tensor)], None).unwrap();
    fs::write(folder.path().join("x.safetensors"), bytes).unwrap();
    let output = tritburn_in(
        folder.path(),
        &["inspect", "--tensors", "x.safetensors"],
        b"",
    );
    let printed = text(&output.stdout);
    assert!(!printed.contains('\u{1b}'), "{printed}");
    assert!(
        printed.contains("a\\u{1b}[31mred: 1 values are NaN"),
        "{printed}"
    );
    assert!(!printed.contains("problem: :"), "{printed}");
}

#[test]
fn a_tokenizer_that_cannot_be_read_is_a_problem_but_not_for_ids() {
    let folder = tempfile::tempdir().unwrap();
    copy(&toy("packed"), folder.path());
    fs::write(folder.path().join("tokenizer.json"), "{\"model\": 1}").unwrap();
    let model = path(folder.path());
    let output = tritburn(&["inspect", model]);
    assert!(!output.status.success());
    let printed = text(&output.stdout);
    assert!(printed.contains("problem: tokenizer: "), "{printed}");
    let args = [
        "generate",
        "-m",
        model,
        "--ids",
        "1,2",
        "-n",
        "3",
        "--ignore-eos",
    ];
    let output = tritburn(&args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).trim().split(',').count(), 3);
    let message = fail(&["generate", "-m", model, "--prompt", "x"]);
    assert!(message.contains("tokenizer"), "{message}");

    // What GGUF holds of a kind that nobody knows is left out of a conversion.
    let whole = folder.path().join("whole.gguf");
    let source = folder.path().join("source");
    succeed(&["convert", "synthetic:tiny", path(&source), "--to", "hf"]);
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(toy("packed").join(name), source.join(name)).unwrap();
    }
    succeed(&["convert", path(&source), path(&whole), "--to", "gguf-i2_s"]);
    let mut bytes = fs::read(&whole).unwrap();
    for (from, to) in [
        ("gpt2", "gpt?"),
        ("tokenizer.huggingface.json", "tokenizer.huggingface.nosj"),
    ] {
        let place = bytes.windows(from.len()).position(|w| w == from.as_bytes());
        let place = place.unwrap();
        bytes[place..place + to.len()].copy_from_slice(to.as_bytes());
    }
    let strange = folder.path().join("strange.gguf");
    fs::write(&strange, bytes).unwrap();
    let out = folder.path().join("out");
    let args = ["convert", path(&strange), path(&out), "--to", "tritburn"];
    let message = fail(&args);
    assert!(
        message.contains("gpt?") && message.contains("--allow-lossy"),
        "{message}"
    );
    let report = json(&[&args[..], &["--allow-lossy", "--json"]].concat());
    assert_eq!(report["tokenizer"], false);
    succeed(&["generate", "-m", path(&strange), "--ids", "1", "-n", "1"]);

    // A rule that is not known is told of once.
    let mut bytes = fs::read(&whole).unwrap();
    for (from, to) in [
        ("gpt-2", "gpt-x"),
        ("tokenizer.huggingface.json", "tokenizer.huggingface.nosj"),
    ] {
        let place = bytes.windows(from.len()).position(|w| w == from.as_bytes());
        let place = place.unwrap();
        bytes[place..place + to.len()].copy_from_slice(to.as_bytes());
    }
    fs::write(&strange, bytes).unwrap();
    let output = tritburn(&["generate", "-m", path(&strange), "--prompt", "a", "-n", "1"]);
    let messages = text(&output.stderr);
    assert_eq!(messages.matches("gpt-x").count(), 1, "{messages}");
    assert!(!messages.contains('\u{1b}'), "{messages}");
}

#[test]
fn a_file_beside_the_shards_of_a_model_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    copy(&toy("packed"), folder.path());
    let index = folder.path().join("model.safetensors.index.json");
    fs::write(index, r#"{"weight_map": {}}"#).unwrap();
    let output = tritburn(&[
        "generate",
        "-m",
        path(folder.path()),
        "--ids",
        "1",
        "-n",
        "1",
    ]);
    let message = text(&output.stderr);
    assert!(message.contains("index.json is not read"), "{message}");
}
