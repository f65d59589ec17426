//! `tritburn bench`.

use std::fs;

use serde_json::Value;

use crate::common::*;

/// Bytes of a position of the tiny model: keys and values of two layers of two heads of 32 f32.
const TINY_POSITION: u64 = 2 * 2 * 2 * 32 * 4;

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
        match row["phase"].as_str().unwrap() {
            "prompt" => assert_eq!(bytes("read_bytes"), None, "{row}"),
            // The table is the head: a step reads all weights.
            _ => {
                let positions = row["batch"].as_u64().unwrap() * row["context"].as_u64().unwrap();
                let expected = bytes("model_bytes").unwrap() + positions * TINY_POSITION;
                assert_eq!(bytes("read_bytes"), Some(expected), "{row}");
            }
        }
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
    assert!(report["bandwidth"].as_f64().unwrap() > 1e8, "{report}");
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
fn bench_measures_what_a_small_model_has_room_for() {
    let args = [
        "bench",
        "--synthetic",
        "tiny",
        "--repeats",
        "1",
        "--json",
        "--device",
        "flex",
    ];
    let report = json(&args);
    let lengths = report["rows"].as_array().unwrap().iter();
    let lengths: Vec<_> = lengths
        .map(|row| row["context"].as_u64().unwrap())
        .collect();
    // 512 positions, less 64 steps and 4 to warm up.
    assert_eq!(lengths, [512, 444]);
}
