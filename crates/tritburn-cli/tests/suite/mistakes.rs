//! What the command refuses, and what it says then.

use std::fs;
#[cfg(feature = "cuda")]
use std::process::Command;

use crate::common::*;

#[test]
fn mistakes_are_explained() {
    let model = toy("packed");
    let model = path(&model);
    let long = list(&[1; 513]);
    for (args, said) in [
        (&["generate", "-m", "nowhere", "--ids", "1"][..], "nowhere"),
        (&["generate", "-m", model, "--ids", "1,100000"], "100000"),
        (
            &["generate", "-m", model, "--ids", "1", "--device", "abacus"],
            "abacus",
        ),
        (
            &["generate", "-m", model, "--ids", "1", "--top-p", "1.5"],
            "1.5",
        ),
        (&["generate", "-m", model, "--ids", &long], "513"),
        (
            &["generate", "-m", model, "--chat", "--context", "513"],
            "512",
        ),
        (
            &["generate", "-m", model, "--chat", "--context", "0"],
            "--context 0",
        ),
        (&["generate", "-m", model, "--ids", "1", "--chat"], "--chat"),
        (
            &["generate", "-m", model, "--ids", "1", "--system", "Hello"],
            "--system",
        ),
        (
            &["generate", "-m", model, "--ids", "1", "--context", "64"],
            "--context",
        ),
        (&["generate", "-m", "synthetic:huge", "--ids", "1"], "2b-4t"),
        (
            &["generate", "--synthetic", "tiny", "--prompt", "text"],
            "--ids",
        ),
        (&["bench", "--synthetic", "tiny", "--batch", "0"], "--batch"),
        (
            &["bench", "--synthetic", "tiny", "--prompt", "0"],
            "--prompt",
        ),
        (
            &["bench", "--synthetic", "tiny", "--context", "100000"],
            "100068",
        ),
    ] {
        let message = fail(args);
        assert!(message.contains(said), "{args:?}: {message}");
    }
}

#[test]
fn damaged_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    fs::create_dir(&model).unwrap();
    copy(&toy("packed"), &model);
    let weights = model.join("model.safetensors");
    let whole = fs::read(&weights).unwrap();
    for len in [0, 7, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(&weights, &whole[..len]).unwrap();
        let message = fail(&["generate", "-m", path(&model), "--ids", "1"]);
        assert!(message.contains("model"), "{message}");
        assert!(!fail(&["inspect", path(&weights)]).is_empty());
    }
    fs::write(&weights, &whole).unwrap();
    fs::write(model.join("config.json"), "{\"model_type\": \"bitnet\"").unwrap();
    assert!(fail(&["generate", "-m", path(&model), "--ids", "1"]).contains("config.json"));
}

/// The reason is all that is said: no driver, or one that is shown no GPU.
#[test]
#[cfg(feature = "cuda")]
fn a_missing_gpu_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_tritburn"))
        .args(["generate", "--synthetic", "tiny", "--ids", "1"])
        .args(["--device", "cuda"])
        .env("CUDA_VISIBLE_DEVICES", "-1")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let message = text(&output.stderr);
    let reasons = [
        "tritburn: no CUDA driver (libcuda)",
        "tritburn: the CUDA driver runs no GPU",
    ];
    let named = reasons.iter().any(|reason| message.starts_with(reason));
    assert!(named && message.lines().count() == 1, "{message}");
}
