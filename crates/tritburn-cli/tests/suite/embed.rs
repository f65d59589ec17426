//! `tritburn embed`.

use serde_json::Value;

use crate::common::*;

fn vectors(args: &[&str], input: &str) -> Vec<Vec<f64>> {
    let model = toy("packed");
    let mut all = vec!["embed", "--model", path(&model), "--device", "flex"];
    all.extend(args);
    let output = tritburn_with(&all, input);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines = text(&output.stdout);
    let vectors = lines.lines().enumerate().map(|(index, line)| {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["index"], index);
        let vector = line["embedding"].as_array().unwrap();
        vector.iter().map(|v| v.as_f64().unwrap()).collect()
    });
    vectors.collect()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn texts_become_vectors_of_length_one_whatever_runs_beside_them() {
    let texts = "a text\nanother one, which is longer\n-5 degrees\na text\n";
    let all = vectors(&["-"], texts);
    assert_eq!(all.len(), 4);
    for vector in &all {
        assert!((cosine(vector, vector) - 1.0).abs() < 1e-5);
    }
    assert!((cosine(&all[0], &all[3]) - 1.0).abs() < 1e-5);
    assert!(cosine(&all[0], &all[1]) < 0.999);
    let single = vectors(&["-", "--batch-size", "1"], texts);
    for (one, beside) in single.iter().zip(&all) {
        assert!((cosine(one, beside) - 1.0).abs() < 1e-5);
    }
    let given = vectors(&["--text", "a text", "--text", "-5 degrees"], "");
    assert!((cosine(&given[1], &all[2]) - 1.0).abs() < 1e-5);
    // The token that ends a sequence is what is pooled, unless it is left out.
    let bare = vectors(&["--text", "a text", "--no-eos"], "");
    assert!(cosine(&bare[0], &all[0]) < 0.999);
}

#[test]
fn texts_that_do_not_fit_are_named() {
    let model = toy("packed");
    let long = "word ".repeat(5000);
    let message = fail(&["embed", "--model", path(&model), "--text", &long]);
    assert!(message.contains("text 0 has"), "{message}");
    let message = fail(&["embed", "--model", path(&model), "/nowhere.txt"]);
    assert!(message.contains("cannot read /nowhere.txt"), "{message}");
    let message = fail(&[
        "embed",
        "--model",
        path(&model),
        "--text",
        "a",
        "--batch-size",
        "0",
    ]);
    assert!(message.contains("--batch-size 0"), "{message}");
}
