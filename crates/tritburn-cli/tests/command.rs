//! The command as a user runs it, on the toy BitNet whose logits and tokens came from transformers.

#![cfg(feature = "flex")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rstest::rstest;
use safetensors::SafeTensors;
use serde_json::Value;

const FORMS: [(&str, &str, &str); 2] = [
    ("bf16", "online_f32", "greedy"),
    ("packed", "offline_f32", "offline_greedy"),
];

fn toy(form: &str) -> PathBuf {
    toy_folder().join(form)
}

fn toy_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tritburn-models/tests/data/bitnet-tiny")
}

fn tritburn(args: &[&str]) -> Output {
    tritburn_with(args, "")
}

fn tritburn_with(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tritburn"))
        .args(args)
        .env_remove("TRITBURN_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its arguments has closed the pipe already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The standard output of a run that has to succeed.
fn succeed(args: &[&str]) -> String {
    let output = tritburn(args);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&succeed(args)).unwrap()
}

/// The message of a run that has to fail.
fn fail(args: &[&str]) -> String {
    let output = tritburn(args);
    assert!(!output.status.success(), "{args:?} succeeded");
    let message = text(&output.stderr);
    assert!(!message.contains("panicked"), "{args:?}: {message}");
    message
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Copies the files of a folder.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// A vector of whole numbers in transformers' results.
fn expected_ids(name: &str) -> Vec<u64> {
    let bytes = fs::read(toy_folder().join("expected.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let data = tensors.tensor(name).unwrap().data();
    let ids = data.chunks_exact(8);
    ids.map(|id| u64::from_le_bytes(id.try_into().unwrap()))
        .collect()
}

fn f32s(file: &Path, name: &str) -> Vec<f32> {
    let bytes = fs::read(file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let data = tensors.tensor(name).unwrap().data();
    let values = data.chunks_exact(4);
    values
        .map(|value| f32::from_le_bytes(value.try_into().unwrap()))
        .collect()
}

fn list(ids: &[u64]) -> String {
    let ids: Vec<_> = ids.iter().map(u64::to_string).collect();
    ids.join(",")
}

fn ids_of(value: &Value) -> Vec<u64> {
    let ids = value.as_array().unwrap();
    ids.iter().map(|id| id.as_u64().unwrap()).collect()
}

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
fn a_chat_answers_every_line_and_remembers() {
    let model = toy("packed");
    let args = ["generate", "--model", path(&model), "--chat", "-n", "6"];
    let chat = tritburn_with(&args, "one\n\ntwo\n/clear\none\n/quit\nnever\n");
    assert!(chat.status.success(), "{}", text(&chat.stderr));
    let reports = text(&chat.stderr);
    let reports: Vec<_> = reports
        .lines()
        .filter(|line| line.starts_with('['))
        .collect();
    assert_eq!(reports.len(), 3, "three questions were asked: {reports:?}");
    let prompt = |line: &str| {
        let tokens = line.strip_prefix("[prompt: ").unwrap();
        tokens.split(' ').next().unwrap().parse::<usize>().unwrap()
    };
    assert_eq!(prompt(reports[0]), prompt(reports[2]), "/clear forgets");
    let answers = text(&chat.stdout);
    let first = tritburn_with(&args, "one\n");
    assert!(answers.starts_with(&text(&first.stdout)));
    assert!(
        answers.ends_with(&text(&first.stdout)),
        "the same answer after /clear"
    );
}

#[test]
fn a_chat_forgets_its_oldest_turns_when_its_context_is_full() {
    let model = toy("packed");
    let common = ["generate", "--model", path(&model), "--chat", "-n", "8"];
    let question = "weights are packed into words\n";
    let ask = |context: &str, questions: usize| {
        let args = [&common[..], &["--ignore-eos", "--context", context]].concat();
        let chat = tritburn_with(&args, &question.repeat(questions));
        let messages = text(&chat.stderr);
        assert!(chat.status.success(), "{messages}");
        (messages, text(&chat.stdout))
    };
    let (messages, _) = ask("512", 1);
    let tokens = messages
        .split(' ')
        .nth(1)
        .unwrap()
        .parse::<usize>()
        .unwrap();

    // Room for one question with its answer and a little, not for two.
    let context = (tokens + 10).to_string();
    let (messages, answers) = ask(&context, 4);
    assert_eq!(messages.matches("[prompt: ").count(), 4, "{messages}");
    assert_eq!(messages.matches("forgetting").count(), 1, "{messages}");
    let (_, first) = ask("512", 1);
    assert_eq!(answers, first.repeat(4), "every question stands alone");

    let (messages, _) = ask(&(tokens - 1).to_string(), 2);
    let refused = format!("takes {tokens} tokens");
    assert_eq!(messages.matches(&refused).count(), 2, "{messages}");
}

#[test]
fn a_chat_template_that_renders_nothing_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    copy(&toy("packed"), folder.path());
    fs::write(folder.path().join("chat_template.jinja"), "{# nothing #}").unwrap();
    let args = ["generate", "-m", path(folder.path()), "--chat"];
    let chat = tritburn_with(&args, "one\n");
    assert!(!chat.status.success());
    let message = text(&chat.stderr);
    assert!(
        message.contains("renders the conversation to nothing"),
        "{message}"
    );
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
    let report = json(&["inspect", path(folder.path()), "--json"]);
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
fn bench_times_prompts_and_steps() {
    let folder = tempfile::tempdir().unwrap();
    let svg = folder.path().join("bench.svg");
    let file = folder.path().join("bench.json");
    let args = [
        "bench",
        "--synthetic",
        "tiny",
        "--batch",
        "1,2",
        "--prompt",
        "16",
        "--context",
        "8",
        "--steps",
        "4",
        "--repeats",
        "2",
        "--dense-twin",
        "--device",
        "flex",
    ];
    let outputs = ["--json", "--output", path(&file), "--svg", path(&svg)];
    let report = json(&[&args[..], &outputs].concat());
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(
        rows.len(),
        8,
        "two batches, prompt and decode, packed and dense"
    );
    for row in rows {
        let tokens = match row["phase"].as_str().unwrap() {
            "prompt" => 16.0,
            _ => 1.0,
        } * row["batch"].as_f64().unwrap();
        let rate = tokens / (row["ms"].as_f64().unwrap() / 1e3);
        let found = row["tokens_per_s"].as_f64().unwrap();
        assert!((found / rate - 1.0).abs() < 1e-6, "{row}");
        let bytes = |name: &str| row[name].as_u64();
        // Only Linux tells, and not every Linux the peak of a row.
        if cfg!(target_os = "linux") {
            assert!(
                bytes("memory_bytes").unwrap() > bytes("model_bytes").unwrap(),
                "{row}"
            );
        }
        if let Some(peak) = bytes("peak_bytes") {
            assert!(peak >= bytes("memory_bytes").unwrap(), "{row}");
        }
    }
    let written: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(written, report);
    let drawn = fs::read_to_string(&svg).unwrap();
    assert_eq!(drawn.matches("<rect").count(), 1 + rows.len());
    assert!(succeed(&args).contains("W2A8 decode 2 @ 8"));
}

/// The key-value cache of 32 sequences of 498 tokens is 16 MB, that of 16 tokens almost nothing.
#[test]
#[cfg(target_os = "linux")]
fn bench_tells_the_memory_of_each_row() {
    let args = ["--prompt", "--context", "8,490", "--steps", "4"];
    let report = json(
        &[
            &["bench", "--synthetic", "tiny", "--batch", "32"][..],
            &args,
            &["--json"],
        ]
        .concat(),
    );
    let held: Vec<_> = report["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["memory_bytes"].as_u64().unwrap())
        .collect();
    let [small, large] = held[..] else {
        panic!("{report}");
    };
    assert!(large > small + (8 << 20), "{held:?}");
}

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
