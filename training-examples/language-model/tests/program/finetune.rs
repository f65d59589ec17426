//! `finetune`: a published model, a few conversations, and what serves them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bench::{Bench, fail, output_of, program, succeed};

fn toy(form: &str) -> PathBuf {
    let data = "../../crates/tritburn-models/tests/data";
    Path::new(env!("CARGO_MANIFEST_DIR")).join(data).join(form)
}

fn talks(count: usize) -> String {
    let line = |i: usize| {
        let (name, answer) = [("red", "apple"), ("green", "leaf"), ("blue", "sky")][i % 3];
        format!(
            r#"{{"messages":[{{"role":"user","content":"Name a {name} thing"}},{{"role":"assistant","content":"A {answer}"}}]}}"#
        )
    };
    (0..count).map(line).collect::<Vec<_>>().join("\n")
}

fn finetune(bench: &Bench, model: &Path, data: &Path, more: &[&str]) -> Command {
    let mut command = program("finetune");
    command.arg("--output").arg(bench.path("run"));
    command.arg("--model").arg(model).arg("--data").arg(data);
    command.args([
        "--batch-size",
        "4",
        "--warmup-steps",
        "5",
        "--learning-rate",
        "3e-3",
    ]);
    command.args(more);
    command
}

/// Nats a token behind a name in what `eval` says.
fn nats(said: &str, name: &str) -> f64 {
    let line = said.lines().find(|line| line.starts_with(name));
    let line = line.unwrap_or_else(|| panic!("{said}"));
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_published_model_learns_conversations_and_is_served() {
    let bench = Bench::new();
    let data = bench.write("talks.jsonl", talks(40).as_bytes());
    let said = succeed(&mut finetune(&bench, &toy("bitnet-tiny/bf16"), &data, &[]));
    assert!(
        said.contains("weights, gradients and moments take"),
        "{said}"
    );
    let said = succeed(&mut output_of(&bench.path("run"), "eval"));
    assert!(
        nats(&said, "trained") < nats(&said, "before") - 1.0,
        "{said}"
    );
    // The folder has the tokenizer and the template of the model that it was made of.
    for name in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "chat_template.jinja",
    ] {
        assert!(
            bench.path("run").join("model").join(name).exists(),
            "{name}"
        );
    }
    succeed(&mut output_of(&bench.path("run"), "pack"));
}

#[test]
fn parts_of_a_step_weigh_what_they_teach() {
    let (whole, parts) = (Bench::new(), Bench::new());
    let losses = |bench: &Bench, more: &[&str]| -> Vec<f64> {
        let data = bench.write("talks.jsonl", talks(9).as_bytes());
        let mut command = finetune(bench, &toy("bitnet-tiny/bf16"), &data, more);
        succeed(command.args(["--steps", "3"]));
        let lines = bench.losses("run");
        let loss = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["loss"].as_f64().unwrap()
        };
        lines.lines().map(loss).collect()
    };
    let (whole, parts) = (
        losses(&whole, &[]),
        losses(&parts, &["--micro-batch-size", "1"]),
    );
    assert_eq!(whole.len(), 3);
    for (a, b) in whole.iter().zip(&parts) {
        assert!((a - b).abs() < 1e-4 * a, "{whole:?} {parts:?}");
    }
}

/// A folder with the toy Llama, which has no tokenizer: bytes fit its 256 rows.
fn llama_of_bytes(bench: &Bench) -> PathBuf {
    let model = bench.path("llama");
    std::fs::create_dir(&model).unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(toy("bitnet-silu").join(name), model.join(name)).unwrap();
    }
    tritburn_models::text::TokenizerFiles::bytes()
        .unwrap()
        .write_to_folder(&model)
        .unwrap();
    model
}

#[test]
fn a_model_without_a_chat_template_is_given_one() {
    let bench = Bench::new();
    let model = llama_of_bytes(&bench);
    let data = bench.write("talks.jsonl", talks(8).as_bytes());
    let message = fail(&mut finetune(&bench, &model, &data, &[]));
    assert!(message.contains("--chat-template"), "{message}");

    let missing = bench.path("none.jinja");
    let mut command = finetune(&bench, &model, &data, &["--steps", "2"]);
    let message = fail(command.arg("--chat-template").arg(&missing));
    assert!(message.contains("none.jinja"), "{message}");

    let template = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}\
                    {% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";
    let path = bench.write("chat.jinja", template.as_bytes());
    let mut command = finetune(&bench, &model, &data, &["--steps", "2"]);
    succeed(command.arg("--chat-template").arg(&path));
    let written = bench.path("run").join("model").join("chat_template.jinja");
    assert_eq!(std::fs::read_to_string(written).unwrap(), template);
}

#[test]
fn a_llama_shaped_model_and_plain_text_are_taken_too() {
    let bench = Bench::new();
    let model = llama_of_bytes(&bench);
    let text = bench.path("text.txt");
    let mut command = finetune(&bench, &model, &text, &["--context", "32"]);
    succeed(command.args(["--steps", "4"]));
    let said = succeed(&mut output_of(&bench.path("run"), "eval"));
    assert!(said.contains("trained"), "{said}");
}

#[test]
fn what_cannot_be_tuned_is_refused_with_the_reason() {
    let bench = Bench::new();
    let data = bench.write("talks.jsonl", talks(4).as_bytes());
    let message = fail(&mut finetune(
        &bench,
        &toy("bitnet-tiny/packed"),
        &data,
        &[],
    ));
    assert!(message.contains("packed weights only"), "{message}");
    let message = fail(&mut finetune(&bench, &toy("bitnet-silu"), &data, &[]));
    assert!(message.contains("tokenizer"), "{message}");
    let silent = r#"{"messages":[{"role":"user","content":"Hi"}]}"#;
    let silent = bench.write("silent.jsonl", silent.as_bytes());
    let masters = toy("bitnet-tiny/bf16");
    let message = fail(&mut finetune(&bench, &masters, &silent, &[]));
    assert!(
        message.contains("line 1") && message.contains("assistant"),
        "{message}"
    );
    let message = fail(&mut finetune(
        &bench,
        &masters,
        &data,
        &["--context", "100000"],
    ));
    assert!(message.contains("100000"), "{message}");
    let mut train = program("train");
    train
        .arg("--output")
        .arg(bench.path("other"))
        .arg("--data")
        .arg(&data);
    let message = fail(&mut train);
    assert!(message.contains("finetune"), "{message}");
}

/// A float model becomes ternary little by little, and is served as one.
#[test]
fn a_float_model_becomes_ternary() {
    let bench = Bench::new();
    let text = bench.path("text.txt");
    succeed(&mut bench.train(
        "float",
        &["--dense", "--steps", "60", "--learning-rate", "0.01"],
    ));
    let float = bench.path("float").join("model");
    let more = ["--ternarize", "--steps", "30", "--quantization-steps", "10"];
    succeed(&mut finetune(&bench, &float, &text, &more));
    let config = std::fs::read_to_string(bench.path("run").join("model/config.json")).unwrap();
    assert!(config.contains("\"online\""), "{config}");
    let said = succeed(&mut output_of(&bench.path("run"), "eval"));
    assert!(nats(&said, "trained") < nats(&said, "unigram"), "{said}");
    succeed(&mut output_of(&bench.path("run"), "pack"));
    let lines = bench.losses("run");
    assert_eq!(lines.lines().count(), 30);
}

/// A training that goes wrong late leaves the model of its best step.
#[test]
fn the_best_step_is_kept_where_the_last_is_worse() {
    let bench = Bench::new();
    let data = bench.write("talks.jsonl", talks(40).as_bytes());
    let model = toy("bitnet-tiny/bf16");
    let mut first = finetune(
        &bench,
        &model,
        &data,
        &["--steps", "20", "--checkpoint-steps", "5"],
    );
    let said = succeed(&mut first);
    assert!(!said.contains("cheapest") && !bench.path("run").join("best").exists());
    // Steps so large that they unlearn what the first ones, of a rising rate, have learned.
    let other = Bench::new();
    let data = other.write("talks.jsonl", talks(40).as_bytes());
    let mut command = program("finetune");
    command.arg("--output").arg(other.path("run"));
    command.arg("--model").arg(&model).arg("--data").arg(&data);
    command.args(["--steps", "60", "--batch-size", "4", "--warmup-steps", "60"]);
    command.args([
        "--learning-rate",
        "0.5",
        "--checkpoint-steps",
        "2",
        "--gradient-norm",
        "1000",
    ]);
    let said = succeed(&mut command);
    assert!(
        said.contains("held-out text was cheapest after step"),
        "{said}"
    );
    assert!(other.path("run").join("best/model.safetensors").exists());
}

#[test]
fn a_teacher_of_the_same_tokens_is_learned_from() {
    let bench = Bench::new();
    let data = bench.write("talks.jsonl", talks(20).as_bytes());
    let (model, teacher) = (toy("bitnet-tiny/bf16"), toy("bitnet-tiny/packed"));
    let teacher = teacher.to_str().unwrap();
    let more = [
        "--teacher",
        teacher,
        "--steps",
        "6",
        "--teacher-weight",
        "0.5",
    ];
    succeed(&mut finetune(&bench, &model, &data, &more));
    let other = Bench::new();
    let stranger = toy("bitnet-silu");
    let more = ["--teacher", stranger.to_str().unwrap(), "--steps", "6"];
    let message = fail(&mut finetune(&other, &model, &data, &more));
    assert!(message.contains("vocabulary of 256"), "{message}");
}
