//! `tritburn inspect`.

use std::fs;

use safetensors::SafeTensors;

use crate::common::*;

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
