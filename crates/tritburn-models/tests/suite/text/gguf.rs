//! Tokenizers of GGUF files.

use super::*;

fn bare_gguf() -> Metadata {
    let mut whole = Metadata::new();
    files().write_gguf(&mut whole, 512).unwrap();
    let mut bare = Metadata::new();
    for (key, value) in whole.iter() {
        if key != "tokenizer.huggingface.json" {
            bare.set(key, value.clone());
        }
    }
    bare
}

#[test]
fn token_types_are_integers_of_any_width() {
    let bare = bare_gguf();
    let of_bare = TokenizerFiles::from_gguf(&bare).unwrap();
    let types = bare
        .get("tokenizer.ggml.token_type")
        .and_then(Value::as_array);
    let Some(Array::I32(types)) = types else {
        panic!("no types");
    };
    for array in [
        Array::U32(types.iter().map(|&t| t as u32).collect()),
        Array::I8(types.iter().map(|&t| t as i8).collect()),
        Array::U64(types.iter().map(|&t| t as u64).collect()),
    ] {
        let mut metadata = bare.clone();
        metadata.set("tokenizer.ggml.token_type", Value::Array(array));
        assert_eq!(TokenizerFiles::from_gguf(&metadata).unwrap(), of_bare);
    }
    for array in [
        Array::F32(vec![1.0; types.len()]),
        Array::U32(vec![99; types.len()]),
        Array::I32(vec![1]),
    ] {
        let mut metadata = bare.clone();
        metadata.set("tokenizer.ggml.token_type", Value::Array(array));
        let error = TokenizerFiles::from_gguf(&metadata).unwrap_err();
        assert!(matches!(error, TextError::Metadata { .. }), "{error}");
    }
}

#[test]
fn a_splitting_rule_that_is_not_known_is_no_reason_to_give_up() {
    let mut metadata = bare_gguf();
    metadata.set(
        "tokenizer.ggml.pre",
        Value::String("of-tomorrow".to_string()),
    );
    let files = TokenizerFiles::from_gguf(&metadata).unwrap();
    let tokenizer = Tokenizer::from_files(&files).unwrap();
    let ids = tokenizer.encode("pack the weights, 1234").unwrap();
    assert_eq!(tokenizer.decode(&ids).unwrap(), "pack the weights, 1234");
}

/// Pieces as SentencePiece trains them: `<unk>`, `<s>`, `</s>`, the bytes, then `pieces` with scores.
fn sentencepiece(pieces: &[(&str, f32)], bytes: bool) -> Metadata {
    let mut all: Vec<(String, f32, i32)> = vec![
        ("<unk>".to_string(), 0.0, 2),
        ("<s>".to_string(), 0.0, 3),
        ("</s>".to_string(), 0.0, 3),
    ];
    if bytes {
        all.extend((0..256).map(|byte| (format!("<0x{byte:02X}>"), 0.0, 6)));
    } else {
        all[0].2 = 1;
    }
    all.extend(
        pieces
            .iter()
            .map(|(text, score)| (text.to_string(), *score, 1)),
    );
    let mut metadata = Metadata::new();
    metadata.set("tokenizer.ggml.model", Value::String("llama".to_string()));
    let texts = all.iter().map(|piece| piece.0.clone()).collect();
    metadata.set("tokenizer.ggml.tokens", Value::Array(Array::String(texts)));
    let scores = all.iter().map(|piece| piece.1).collect();
    metadata.set("tokenizer.ggml.scores", Value::Array(Array::F32(scores)));
    let types = all.iter().map(|piece| piece.2).collect();
    metadata.set("tokenizer.ggml.token_type", Value::Array(Array::I32(types)));
    metadata
}

const PIECES: [(&str, f32); 12] = [
    ("▁t", -1.0),
    ("he", -2.0),
    ("▁the", -3.0),
    ("▁", -4.0),
    ("t", -5.0),
    ("h", -6.0),
    ("e", -7.0),
    ("n", -8.0),
    ("en", -9.0),
    ("hen", -10.0),
    ("▁▁", -11.0),
    ("then", -12.0),
];

#[test]
fn sentencepiece_merges_by_score_and_writes_the_rest_as_bytes() {
    let mut metadata = sentencepiece(&PIECES, true);
    let id = |text: &str| 259 + PIECES.iter().position(|p| p.0 == text).unwrap() as u32;
    let byte = |byte: u32| 3 + byte;
    let tokenizer = |metadata: &Metadata| {
        Tokenizer::from_files(&TokenizerFiles::from_gguf(metadata).unwrap()).unwrap()
    };
    let of = tokenizer(&metadata);
    for (text, expected) in [
        ("the", vec![id("▁the")]),
        // `he` comes before `en`.
        ("then", vec![id("▁the"), id("n")]),
        ("en", vec![id("▁"), id("en")]),
        ("  the", vec![id("▁▁"), id("▁the")]),
        ("é", vec![id("▁"), byte(0xc3), byte(0xa9)]),
        ("a</s>", vec![id("▁"), byte(0x61), 2]),
    ] {
        let ids = of.encode(text).unwrap();
        assert_eq!(ids, [&[1][..], &expected].concat(), "{text}");
        assert_eq!(of.decode(&ids).unwrap(), text.replace("</s>", ""));
        assert_eq!(of.encode_rendered(text).unwrap(), expected);
    }
    let marked = of.encode_text("</s>").unwrap();
    assert!(!marked.contains(&2));
    assert_eq!(of.decode(&marked).unwrap(), "</s>");

    metadata.set("tokenizer.ggml.add_space_prefix", Value::Bool(false));
    metadata.set("tokenizer.ggml.add_bos_token", Value::Bool(false));
    metadata.set("tokenizer.ggml.add_eos_token", Value::Bool(true));
    let of = tokenizer(&metadata);
    assert_eq!(of.encode("then").unwrap(), [id("then"), 2]);
    assert_eq!(of.decode(&[id("▁the")]).unwrap(), " the");
}

#[test]
fn sentencepiece_that_would_lose_text_is_refused() {
    let error = TokenizerFiles::from_gguf(&sentencepiece(&PIECES, false)).unwrap_err();
    assert!(matches!(error, TextError::Unsupported { .. }), "{error}");
    let twice = [("a", -1.0), ("a", -2.0)];
    let error = TokenizerFiles::from_gguf(&sentencepiece(&twice, true)).unwrap_err();
    assert!(matches!(error, TextError::Unsupported { .. }), "{error}");
    let mut metadata = sentencepiece(&PIECES, true);
    metadata.set("tokenizer.ggml.scores", Value::Array(Array::F32(vec![0.0])));
    let error = TokenizerFiles::from_gguf(&metadata).unwrap_err();
    assert!(matches!(error, TextError::Metadata { .. }), "{error}");
}

#[test]
fn nothing_is_lost_behind_bytes_that_become_no_character() {
    let metadata = sentencepiece(&PIECES, true);
    let tokenizer = Tokenizer::from_files(&TokenizerFiles::from_gguf(&metadata).unwrap()).unwrap();
    let the = tokenizer.token_to_id("▁the").unwrap();
    let byte = |byte: u32| 3 + byte;
    for run in [
        &[0xe4][..],
        &[0xc3, 0xa9, 0xe4],
        &[0xe4, 0xc3, 0xa9, 0xf0, 0x9f],
        &[0x80; 40],
        &[0xc3, 0xa9, 0xc3, 0xa9],
    ] {
        let mut ids = vec![the];
        ids.extend(run.iter().map(|&b| byte(b)));
        ids.extend([the, the, byte(0x61)]);
        let mut stream = tokenizer.stream();
        let mut text = String::new();
        for id in ids {
            text.extend(stream.push(id).unwrap());
        }
        text.extend(stream.finish().unwrap());
        assert!(
            text.starts_with("the") && text.ends_with(" the thea"),
            "{text:?}"
        );
        let between = text.trim_start_matches("the").trim_end_matches(" the thea");
        assert!(
            between.chars().all(|c| c == 'é' || c == '\u{FFFD}'),
            "{text:?}"
        );
    }
}
