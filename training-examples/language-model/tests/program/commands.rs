//! The sub-commands on a training that has ended.

use std::fs;

use crate::bench::{Bench, TINY, fail, output_of, program, succeed};

fn number_after(text: &str, name: &str) -> f64 {
    let line = text
        .lines()
        .find(|line| line.starts_with(name))
        .unwrap_or_else(|| panic!("{text}"));
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_trained_model_learns_packs_and_writes_the_same_packed() {
    let bench = Bench::new();
    let run = bench.path("run");
    let said = succeed(&mut bench.train("run", &["--steps", "150", "--learning-rate", "0.01"]));
    assert!(said.contains("held-out text after step"), "{said}");

    let greedy = || {
        let mut command = output_of(&run, "generate");
        command.args(["--prompt", "let mut ", "--max-new-tokens", "60", "--greedy"]);
        succeed(&mut command)
    };
    let written_float = greedy();
    succeed(&mut output_of(&run, "pack"));
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        assert!(run.join("model").join(name).exists(), "{name}");
        assert!(run.join("packed").join(name).exists(), "{name}");
    }
    assert_eq!(greedy(), written_float);
    assert!(written_float.starts_with("let mut "));

    let said = succeed(&mut output_of(&run, "eval"));
    let (unigram, trained) = (
        number_after(&said, "unigram"),
        number_after(&said, "trained"),
    );
    assert!(trained < unigram - 0.2, "{said}");
    assert!(
        (number_after(&said, "packed") - trained).abs() < 1e-3,
        "{said}"
    );
}

#[test]
fn random_text_follows_from_the_seed() {
    let bench = Bench::new();
    succeed(&mut bench.train("run", &["--steps", "2"]));
    let write = |seed: &str| {
        let mut command = output_of(&bench.path("run"), "generate");
        succeed(command.args(["--seed", seed, "--temperature", "1.1", "--top-k", "0"]))
    };
    assert_eq!(write("1"), write("1"));
    assert_ne!(write("1"), write("2"));
}

#[test]
fn the_float_twin_trains_on_the_same_text_and_steps() {
    let bench = Bench::new();
    succeed(&mut bench.train("run", &["--steps", "3", "--dense"]));
    assert_eq!(bench.losses("run").lines().count(), 3);
    succeed(&mut output_of(&bench.path("run"), "eval"));
}

#[test]
fn gradients_of_parts_add_up_to_those_of_the_step() {
    let bench = Bench::new();
    let losses = |run: &str, more: &[&str]| -> Vec<f64> {
        succeed(&mut bench.train(run, &[&["--steps", "5"], more].concat()));
        let lines = bench.losses(run);
        let records = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        records
            .map(|record: serde_json::Value| record["loss"].as_f64().unwrap())
            .collect()
    };
    let whole = losses("whole", &[]);
    for size in ["1", "3", "4", "99"] {
        let parts = losses(size, &["--micro-batch-size", size]);
        for (part, whole) in parts.iter().zip(&whole) {
            assert!((part - whole).abs() < 1e-3, "{size}: {parts:?} {whole:?}");
        }
        if size == "1" {
            assert_ne!(parts, whole, "sums in another order");
        }
    }
}

#[test]
fn a_demo_reports_what_it_measured_and_fails_if_it_learned_too_little() {
    let bench = Bench::new();
    let demo = || {
        let mut command = program("demo");
        command
            .arg("--output")
            .arg(bench.path("demo"))
            .arg("--data")
            .arg(bench.path("text.txt"));
        command.args(TINY).args(["--steps", "2"]);
        fail(&mut command)
    };
    let said = demo();
    assert!(
        said.contains("is not 1 nat below the unigram cost"),
        "{said}"
    );
    // A demo may be run again in its folder.
    demo();
    let json = fs::read_to_string(bench.path("demo").join("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["greedy_tokens_equal"], true);
    assert!(
        report["max_abs_logit_diff_packed_vs_trained"]
            .as_f64()
            .unwrap()
            <= 1e-3,
        "{json}"
    );
    assert_eq!(report["steps"], 2);
    // 32 x (3 x 32 + 32 + 3 x 48) ternary weights; the embedding and five norms stay float.
    assert_eq!(report["ternary_parameters"], 8704);
    assert_eq!(report["parameters"], 8704 + 256 * 32 + 4 * 32 + 48);
    assert!(report["packed_bytes"].as_u64() < report["float_bytes"].as_u64());
}
