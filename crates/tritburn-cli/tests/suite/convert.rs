//! `tritburn convert`.

use std::fs;

use rstest::rstest;

use crate::common::*;

/// What a synthetic model says in the format `to`, and what `inspect` says about it.
#[rstest]
#[case("hf", "out", "Hugging Face")]
#[case("gguf-i2_s", "out.gguf", "I2_S")]
#[case("tritburn", "out", "tritburn")]
#[case("bitnet-gpu", "out", "BitNet GPU")]
fn a_converted_model_generates_the_same(
    #[case] to: &str,
    #[case] name: &str,
    #[case] format: &str,
) {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join(name);
    let converted = json(&[
        "convert",
        "synthetic:tiny",
        path(&output),
        "--to",
        to,
        "--json",
    ]);
    assert_eq!(converted["verified"], true);
    assert_eq!(converted["lossless"], true);
    let new = |model: &[&str]| {
        let rest = ["--ids", "1,2,3,4", "--ignore-eos", "-n", "16", "--json"];
        let report = json(&[&["generate"][..], model, &rest].concat());
        ids_of(&report["ids"])
    };
    assert_eq!(
        new(&["--model", path(&output)]),
        new(&["--synthetic", "tiny"]),
        "{to}"
    );

    let report = json(&["inspect", path(&output), "--json"]);
    assert!(
        report["format"].as_str().unwrap().contains(format),
        "{report}"
    );
    assert_eq!(report["problems"], serde_json::json!([]));
    let shares = report["codes"].as_array().unwrap();
    let sum: f64 = shares.iter().map(|share| share.as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-12 && shares.len() == 3);
    let bits = report["bits_per_weight"].as_f64().unwrap();
    assert!((2.0..2.3).contains(&bits), "{to}: {bits}");
    let listed = succeed(&["inspect", path(&output), "--tensors"]);
    for tensor in report["tensors"].as_array().unwrap() {
        assert!(listed.contains(tensor["name"].as_str().unwrap()));
    }
}

#[test]
fn convert_refuses_losses_and_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    let model = toy("bf16");
    let lossy = ["convert", path(&model), path(&output), "--to", "bitnet-gpu"];
    assert!(fail(&lossy).contains("--allow-lossy"));
    assert!(!output.exists());
    let report = json(&[&lossy[..], &["--allow-lossy", "--json"]].concat());
    assert_eq!(report["lossless"], false);
    assert!(!report["losses"].as_array().unwrap().is_empty());

    let again = ["convert", path(&model), path(&output), "--to", "hf"];
    assert!(fail(&again).contains("--force"));
    assert!(fail(&["inspect", path(&folder.path().join("none"))]).contains("none"));
    assert!(succeed(&[&again[..], &["--force"]].concat()).contains("read back and compared"));
}

#[test]
fn convert_force_keeps_the_files_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let notes = folder.path().join("notes.txt");
    fs::write(&notes, "years of work").unwrap();
    for (to, said) in [("hf", "notes.txt"), ("gguf-i2_s", "a folder")] {
        let args = ["convert", "synthetic:tiny", path(folder.path()), "--force"];
        let message = fail(&[&args[..], &["--to", to]].concat());
        assert!(message.contains("is not replaced"), "{message}");
        assert!(message.contains(said), "{message}");
        assert_eq!(fs::read_to_string(&notes).unwrap(), "years of work");
    }
}

/// Types of the embedding as `inspect` calls them.
#[rstest]
#[case("hf", None, "BF16")]
#[case("hf", Some("f32"), "F32")]
#[case("hf", Some("f16"), "F16")]
#[case("gguf-i2_s", None, "F16")]
#[case("gguf-i2_s", Some("bf16"), "BF16")]
#[case("gguf-i2_s", Some("f32"), "F32")]
fn convert_writes_embeddings_in_the_type_asked_for(
    #[case] to: &str,
    #[case] embedding: Option<&str>,
    #[case] expected: &str,
) {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    let model = toy("bf16");
    // Rows of the toy are no whole blocks of GGUF.
    let input = match to {
        "hf" => path(&model),
        _ => "synthetic:tiny",
    };
    let mut args = vec!["convert", input, path(&output), "--to", to, "--allow-lossy"];
    args.extend(
        embedding
            .into_iter()
            .flat_map(|dtype| ["--embedding", dtype]),
    );
    succeed(&args);
    let report = json(&["inspect", path(&output), "--json"]);
    let tensors = report["tensors"].as_array().unwrap();
    let mut found = tensors.iter().filter(|tensor| {
        let name = tensor["name"].as_str().unwrap();
        name.contains("embed_tokens") || name.contains("token_embd")
    });
    assert_eq!(found.next().unwrap()["dtype"], expected, "{to}");
}

#[test]
fn the_current_folder_is_filled_where_that_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let source = toy("packed").canonicalize().unwrap();
    let args = ["convert", path(&source), ".", "--to", "hf"];
    let run = |more: &[&str]| tritburn_in(folder.path(), &[&args[..], more].concat(), b"");
    assert!(!run(&[]).status.success());
    for _ in 0..2 {
        let output = run(&["--force"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        succeed(&[
            "generate",
            "-m",
            path(folder.path()),
            "--ids",
            "1",
            "-n",
            "1",
        ]);
    }
    let hidden = std::fs::read_dir(folder.path()).unwrap();
    let hidden =
        hidden.filter(|entry| entry.as_ref().unwrap().file_name().as_encoded_bytes()[0] == b'.');
    assert_eq!(hidden.count(), 0);
    std::fs::write(folder.path().join("mine"), "").unwrap();
    assert!(!run(&["--force"]).status.success());
}

#[test]
fn values_that_would_be_infinite_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    copy(&toy("bf16"), folder.path());
    let weights = folder.path().join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let place = {
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let data = tensors.tensor("model.embed_tokens.weight").unwrap().data();
        data.as_ptr() as usize - bytes.as_ptr() as usize
    };
    // 100352 in bf16.
    bytes[place..place + 2].copy_from_slice(&0x47c4u16.to_le_bytes());
    std::fs::write(&weights, bytes).unwrap();
    let out = folder.path().join("out");
    let args = ["convert", path(folder.path()), path(&out), "--to", "hf"];
    let message = fail(&[&args[..], &["--embedding", "f16", "--allow-lossy"]].concat());
    assert!(
        message.contains("1 values of model.embed_tokens.weight would be infinite"),
        "{message}"
    );
    succeed(&args);
}
