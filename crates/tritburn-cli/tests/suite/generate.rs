//! `tritburn generate` and `tritburn logits`, against what transformers computed.

use serde_json::Value;

use crate::common::*;

#[test]
fn generate_gives_the_tokens_of_transformers() {
    let prompt = expected_ids("prompt");
    for (form, _, greedy) in FORMS {
        let expected = expected_ids(greedy);
        let new = (expected.len() - prompt.len()).to_string();
        let report = json(&[
            "generate",
            "--model",
            path(&toy(form)),
            "--ids",
            &list(&prompt),
            "--max-new-tokens",
            &new,
            "--ignore-eos",
            "--greedy",
            "--device",
            "flex",
            "--json",
        ]);
        assert_eq!(ids_of(&report["ids"]), expected, "{form}");
        for rate in ["prompt_tokens_per_s", "decode_tokens_per_s"] {
            assert!(report[rate].as_f64().unwrap() > 0.0, "{rate}");
        }
        assert!(
            report["peak_bytes"]
                .as_u64()
                .is_some_and(|bytes| bytes > 1 << 20)
        );
        assert!(report["text"].is_string());
    }
}

#[test]
fn generate_streams_the_text_of_its_json() {
    let model = toy("packed");
    let common = [
        "generate",
        "--model",
        path(&model),
        "--prompt",
        "pack the weights",
        "--max-new-tokens",
        "12",
        "--ignore-eos",
        "--temperature",
        "0.9",
        "--seed",
        "7",
    ];
    let report = json(&[&common[..], &["--json"]].concat());
    let streamed = tritburn(&common);
    assert!(streamed.status.success());
    assert_eq!(
        text(&streamed.stdout).trim_end_matches('\n'),
        report["text"].as_str().unwrap().trim_end_matches('\n')
    );
    assert!(text(&streamed.stderr).contains("tokens/s"));
    let prompt = report["prompt_tokens"].as_u64().unwrap() as usize;
    assert_eq!(ids_of(&report["ids"]).len(), prompt + 12);

    // From the standard input, and with another seed.
    let piped = tritburn_with(
        &[
            "generate",
            "--model",
            path(&model),
            "--prompt",
            "-",
            "--max-new-tokens",
            "12",
            "--ignore-eos",
            "--temperature",
            "0.9",
            "--seed",
            "7",
        ],
        "pack the weights",
    );
    assert_eq!(piped.stdout, streamed.stdout);
    let mut other = common;
    other[11] = "8";
    assert_ne!(tritburn(&other).stdout, streamed.stdout, "the seed matters");
}

#[test]
fn generation_ends_where_the_positions_of_the_model_do() {
    let model = toy("packed");
    let prompt = list(&[1; 509]);
    for (asked, new, warned) in [
        ("4", 4, false),
        ("5", 4, true),
        ("18446744073709551615", 4, true),
    ] {
        let args = ["--ids", &prompt, "-n", asked, "--ignore-eos", "--json"];
        let output = tritburn(&[&["generate", "-m", path(&model)][..], &args].concat());
        let messages = text(&output.stderr);
        assert!(output.status.success(), "{messages}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["new_tokens"], new, "{asked}");
        assert_eq!(
            messages.contains("room for 4 new tokens"),
            warned,
            "{messages}"
        );
    }
}

#[test]
fn logits_are_those_of_transformers() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("logits.safetensors");
    let ids = list(&expected_ids("prompt"));
    for (form, key, _) in FORMS {
        let report = json(&[
            "logits",
            "--model",
            path(&toy(form)),
            "--ids",
            &ids,
            "--output",
            path(&file),
            "--force",
            "--json",
        ]);
        let found = f32s(&file, "logits");
        let expected = f32s(&toy_folder().join("expected.safetensors"), key);
        let shape = ids_of(&report["shape"]);
        assert_eq!(shape.iter().product::<u64>() as usize, expected.len());
        assert_eq!(found.len(), expected.len());
        let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
        let worst = worst.fold(0.0, f32::max);
        assert!(worst <= 2e-3, "{form}: {worst}");
    }
}

#[test]
fn a_prompt_may_begin_with_a_hyphen() {
    let model = toy("packed");
    let args = [
        "generate",
        "-m",
        path(&model),
        "--prompt",
        "-5 degrees",
        "-n",
        "2",
        "--json",
    ];
    assert!(json(&args)["prompt_tokens"].as_u64().unwrap() > 2);
}

#[test]
fn every_command_tells_the_version_of_tritburn() {
    let version = succeed(&["--version"]);
    assert_eq!(version, format!("tritburn {}\n", env!("CARGO_PKG_VERSION")));
    for command in [
        "generate",
        "logits",
        "convert",
        "inspect",
        "perplexity",
        "bench",
    ] {
        assert_eq!(succeed(&[command, "--version"]), version);
    }
}

#[test]
fn logits_do_not_overwrite_a_file_unless_told() {
    let folder = tempfile::tempdir().unwrap();
    copy(&toy("packed"), folder.path());
    let model = path(folder.path());
    let weights = folder.path().join("model.safetensors");
    let before = std::fs::read(&weights).unwrap();
    let args = ["logits", "-m", model, "--ids", "1,5", "-o", path(&weights)];
    let message = fail(&args);
    assert!(message.contains("--force"), "{message}");
    assert_eq!(std::fs::read(&weights).unwrap(), before);

    let out = folder.path().join("logits.safetensors");
    let args = ["logits", "-m", model, "--ids", "1,5", "-o", path(&out)];
    succeed(&args);
    fail(&args);
    let first = std::fs::read(&out).unwrap();
    std::fs::write(&out, "old").unwrap();
    succeed(&[&args[..], &["--force"]].concat());
    assert_eq!(std::fs::read(&out).unwrap(), first);
}

#[test]
#[cfg(unix)]
fn logits_go_through_links_and_into_pipes() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let model = toy("packed");
    let link = folder.path().join("out");
    symlink("/proc/self/fd/1", &link).unwrap();
    let output = tritburn(&[
        "logits",
        "-m",
        path(&model),
        "--ids",
        "1",
        "-o",
        path(&link),
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let tensors = safetensors::SafeTensors::deserialize(&output.stdout).unwrap();
    assert_eq!(tensors.tensor("ids").unwrap().shape(), [1]);
    assert!(link.symlink_metadata().unwrap().is_symlink());

    let file = folder.path().join("l.safetensors");
    succeed(&[
        "logits",
        "-m",
        path(&model),
        "--ids",
        "1",
        "-o",
        path(&file),
    ]);
    let other = folder.path().join("other");
    std::fs::write(&other, "x").unwrap();
    let mode = |file: &std::path::Path| file.metadata().unwrap().permissions().mode();
    assert_eq!(mode(&file), mode(&other));
}

/// Neither the standard output's reader nor that of the standard error has to stay.
#[test]
fn readers_that_have_gone_are_no_reason_to_panic() {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let model = toy("packed");
    for (out, err) in [(false, true), (true, false), (true, true)] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tritburn"))
            .args(["generate", "-m", path(&model), "--chat", "-n", "2", "-v"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let kept = (stdout.filter(|_| !out), stderr.filter(|_| !err));
        let _ = child.stdin.take().unwrap().write_all(b"a\nb\n");
        let code = child.wait().unwrap().code();
        assert_eq!(code, Some(0), "{out} {err}");
        drop(kept);
    }
}

/// A norm with an infinite weight makes infinite logits, or none that are numbers.
#[test]
fn infinite_logits_are_refused_whatever_the_temperature() {
    let folder = tempfile::tempdir().unwrap();
    copy(&toy("packed"), folder.path());
    let weights = folder.path().join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let (place, size) = {
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let norm = tensors.tensor("model.norm.weight").unwrap();
        let data = norm.data();
        let place = data.as_ptr() as usize - bytes.as_ptr() as usize;
        (place, data.len() / norm.shape()[0])
    };
    // Infinity, in either type.
    let infinity = &0x7f80_0000u32.to_le_bytes()[4 - size..];
    bytes[place..place + size].copy_from_slice(infinity);
    std::fs::write(&weights, bytes).unwrap();
    for temperature in ["0", "1"] {
        let args = [
            "generate",
            "-m",
            path(folder.path()),
            "--ids",
            "1,5",
            "-n",
            "3",
        ];
        let message = fail(&[&args[..], &["--temperature", temperature]].concat());
        assert!(
            message.contains("inf") || message.contains("NaN"),
            "{message}"
        );
    }
}
