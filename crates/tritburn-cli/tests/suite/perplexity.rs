//! `tritburn perplexity`, against `tritburn logits`.

use std::fs;

use crate::common::*;

const TEXT: &str = "Packed weights are read once.\nTheir scales are few, <|eot_id|> and so on.\n";

/// Nats of each token but the first by the logits that the command writes.
fn nats(model: &str, text: &str, folder: &std::path::Path) -> Vec<f64> {
    let file = folder.join("logits.safetensors");
    let report = json(&[
        "logits",
        "-m",
        model,
        "--prompt",
        text,
        "-o",
        path(&file),
        "--force",
        "--json",
    ]);
    let ids = ids_of(&report["ids"]);
    let logits = f32s(&file, "logits");
    let rows = logits.chunks(logits.len() / ids.len());
    let cost = |(row, &id): (&[f32], &u64)| {
        let sum: f64 = row.iter().map(|&value| f64::from(value).exp()).sum();
        sum.ln() - f64::from(row[id as usize])
    };
    rows.zip(&ids[1..]).map(cost).collect()
}

#[test]
fn a_short_text_is_scored_whole() {
    let folder = tempfile::tempdir().unwrap();
    let model = toy("packed");
    let file = folder.path().join("text");
    fs::write(&file, TEXT).unwrap();
    let expected = nats(path(&model), TEXT, folder.path());
    let report = json(&["perplexity", "-m", path(&model), path(&file), "--json"]);
    let number = |name: &str| report[name].as_f64().unwrap();
    assert_eq!(number("scored_tokens"), expected.len() as f64);
    assert_eq!(number("bytes"), TEXT.len() as f64);
    let sum: f64 = expected.iter().sum();
    let mean = sum / expected.len() as f64;
    for (name, expected) in [
        ("nats_per_token", mean),
        ("perplexity", mean.exp()),
        ("nats_per_byte", sum / TEXT.len() as f64),
    ] {
        assert!(
            (number(name) / expected - 1.0).abs() < 1e-3,
            "{name}: {}",
            number(name)
        );
    }
    let piped = tritburn_with(&["perplexity", "-m", path(&model), "-"], TEXT);
    let printed = text(&piped.stdout);
    assert!(
        printed.contains(&format!("perplexity {:.3}", number("perplexity"))),
        "{printed}"
    );
    assert!(text(&piped.stderr).contains("tokens/s"));
}

#[test]
fn windows_are_as_long_as_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let model = toy("packed");
    let file = folder.path().join("text");
    fs::write(&file, TEXT.repeat(5)).unwrap();
    let run = |more: &[&str]| {
        let args = ["perplexity", "-m", path(&model), path(&file), "--json"];
        json(&[&args[..], more].concat())
    };
    let whole = run(&[]);
    let strided = run(&["--context", "32", "--stride", "8"]);
    assert_eq!(whole["scored_tokens"], strided["scored_tokens"]);
    assert_ne!(whole["perplexity"], strided["perplexity"]);
    let halves = run(&["--context", "32", "--llama-cpp"]);
    let tokens = halves["tokens"].as_u64().unwrap() + 1;
    assert_eq!(halves["scored_tokens"], tokens / 32 * 15);
    assert!(halves["nats_per_byte"].is_null());
}

#[test]
fn texts_that_cannot_be_scored_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = toy("packed");
    let file = folder.path().join("text");
    let args = ["perplexity", "-m", path(&model), path(&file)];
    assert!(fail(&args).contains("cannot read"));
    fs::write(&file, "").unwrap();
    assert!(fail(&args).contains("is empty"));
    fs::write(&file, b"a\xffb").unwrap();
    assert!(fail(&args).contains("not UTF-8"));
    fs::write(&file, "short").unwrap();
    let message = fail(&[&args[..], &["--llama-cpp", "--context", "64"]].concat());
    assert!(message.contains("64 are needed"), "{message}");
    for (option, value, said) in [
        ("--context", "513", "512 positions"),
        ("--context", "0", "--context 0"),
        ("--stride", "0", "stride of 0"),
        ("--stride", "900", "stride of 900"),
    ] {
        let message = fail(&[&args[..], &[option, value]].concat());
        assert!(message.contains(said), "{message}");
    }
}
