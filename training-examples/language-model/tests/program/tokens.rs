//! Tokens instead of bytes: text to token files, a training on them, and what uses its model.

use std::fs;

use crate::bench::{Bench, TINY, fail, output_of, program, succeed};

/// The text of the bench as JSON lines, a document for each 400 bytes.
fn json_lines(bench: &Bench) -> std::path::PathBuf {
    let text = fs::read_to_string(bench.path("text.txt")).unwrap();
    let lines: String = text
        .as_bytes()
        .chunks(400)
        .map(|document| {
            let text = String::from_utf8_lossy(document);
            serde_json::json!({ "text": text, "id": 1 }).to_string() + "\n"
        })
        .collect();
    bench.write("text.jsonl", lines.as_bytes())
}

fn train_on(bench: &Bench, data: &str, run: &str, more: &[&str]) -> std::process::Command {
    let mut command = program("train");
    command.arg("--output").arg(bench.path(run));
    command.arg("--data").arg(bench.path(data));
    command.args(TINY).args(more);
    command
}

#[test]
fn tokens_of_json_lines_are_trained_on_evaluated_and_written() {
    let bench = Bench::new();
    let lines = json_lines(&bench);
    let mut tokenize = program("tokenize");
    tokenize.arg("--data").arg(&lines).args(["--bpe", "300"]);
    let said = succeed(tokenize.arg("--output").arg(bench.path("tokens")));
    assert!(said.contains("held out"), "{said}");

    let steps = ["--steps", "6", "--checkpoint-steps", "3"];
    succeed(&mut train_on(&bench, "tokens", "run", &steps));
    let unbroken = bench.losses("run");
    // A training that goes on has the steps of one that was never broken.
    succeed(&mut train_on(
        &bench,
        "tokens",
        "two",
        &["--steps", "6", "--checkpoint-steps", "3"],
    ));
    let mut resume = program("train");
    resume.arg("--output").arg(bench.path("two"));
    fs::remove_dir_all(bench.path("two").join("model")).unwrap();
    succeed(resume.arg("--resume"));
    assert_eq!(bench.losses("two"), unbroken);

    let run = bench.path("run");
    let config = fs::read_to_string(run.join("model").join("config.json")).unwrap();
    let tokenizer = fs::read_to_string(bench.path("tokens").join("tokenizer.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    let tokenizer: serde_json::Value = serde_json::from_str(&tokenizer).unwrap();
    let size = tokenizer["model"]["vocab"].as_object().unwrap().len();
    assert_eq!(config["vocab_size"], size);
    assert!(size > 257, "{size}");

    succeed(&mut output_of(&run, "pack"));
    let said = succeed(&mut output_of(&run, "eval"));
    assert!(
        said.contains("nats/token") && said.contains("nats/byte"),
        "{said}"
    );
    let mut generate = output_of(&run, "generate");
    generate.args(["--prompt", "let mut", "--max-new-tokens", "5"]);
    assert!(succeed(&mut generate).starts_with("let mut"));
}

#[test]
fn a_configuration_of_one_training_gives_another_the_same_losses() {
    let bench = Bench::new();
    succeed(&mut bench.train("run", &["--steps", "3", "--warmup-steps", "2"]));
    let mut again = program("train");
    again.arg("--output").arg(bench.path("again"));
    again
        .arg("--config")
        .arg(bench.path("run").join("config.json"));
    succeed(&mut again);
    assert_eq!(bench.losses("again"), bench.losses("run"));
    let mut other = program("train");
    other.arg("--output").arg(bench.path("other"));
    other.arg("--config").arg(bench.path("no.json"));
    assert!(fail(&mut other).contains("no.json"));
}

#[test]
fn data_and_tokenizers_that_cannot_be_used_are_refused_with_the_reason() {
    let bench = Bench::new();
    let turn = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}\n";
    bench.write("chat.jsonl", turn.repeat(20).as_bytes());
    bench.write("broken.jsonl", b"{\"text\":\"a\"}\n{\"text\":");
    bench.write("tokenizer.json", b"{\"version\":\"1.0\"}");
    for (data, reason) in [
        ("chat.jsonl", "line 1: it has `messages`"),
        ("broken.jsonl", "line 2: "),
        ("none.jsonl", "none.jsonl"),
    ] {
        let said = fail(&mut train_on(&bench, data, "run", &["--steps", "1"]));
        assert!(said.contains(reason), "{said}");
        let mut tokenize = program("tokenize");
        tokenize.arg("--data").arg(bench.path(data));
        let said = fail(tokenize.arg("--output").arg(bench.path("tokens")));
        assert!(said.contains(reason), "{said}");
    }
    let tokenizer = bench.path("tokenizer.json");
    let tokenizer = tokenizer.to_str().unwrap();
    let said = fail(&mut bench.train("run", &["--steps", "1", "--tokenizer", tokenizer]));
    assert!(said.contains("the tokenizer of"), "{said}");
    assert!(!bench.path("run").exists());
}
