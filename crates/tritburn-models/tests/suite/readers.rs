//! What must hold when a reader of models meets any bytes at all: the bodies of the targets in `fuzz/`,
//! and of the test that replays their corpora. They panic where it does not hold.

#![allow(dead_code, reason = "each fuzz target uses its own part")]

use std::fs;
use std::path::Path;

use tritburn_models::DecoderConfig;
use tritburn_models::checkpoint::{self, Checkpoint, Norm, Projection, Table};
use tritburn_models::text::{ChatTemplate, Message, TextError, Tokenizer, TokenizerFiles};

/// A `config.json`: an accepted one is sound, and its sizes can be counted.
pub fn config(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let Ok(config) = DecoderConfig::from_hf_json(text) else {
        return;
    };
    config.validate().expect("readers validate");
    assert!(config.parameter_count() > 0);
    let written = config.to_hf_json("float32");
    let again = DecoderConfig::from_hf_json(&written).expect("what is written is read");
    assert_eq!(config.family, again.family);
}

/// A chat template, behind a zero byte what the user says: it comes to an end, and gives no more than
/// a prompt.
pub fn chat_template(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let (template, said) = text.split_once('\0').unwrap_or((text, "Hello"));
    let files = TokenizerFiles {
        chat_template: Some(template.to_string()),
        tokenizer_config: Some(r#"{"bos_token": "<s>", "eos_token": "</s>"}"#.to_string()),
        ..TokenizerFiles::default()
    };
    let Ok(Some(template)) = ChatTemplate::from_files(&files) else {
        return;
    };
    let messages = [
        Message::new("system", "Be brief."),
        Message::new("user", said),
        Message::new("assistant", "Yes. "),
        Message::new("user", said),
    ];
    match template.render(&messages, true) {
        Ok(text) => assert!(text.len() <= 64 << 20),
        Err(TextError::TemplateFailed) => panic!("the rendering thread is gone"),
        Err(_) => {}
    }
}

/// A `tokenizer.model`: an accepted one encodes text to ids that it decodes.
pub fn sentencepiece(data: &[u8], folder: &Path) {
    fs::write(folder.join("tokenizer.model"), data).expect("written");
    let Ok(files) = TokenizerFiles::from_folder(folder) else {
        return;
    };
    if let Ok(tokenizer) = Tokenizer::from_files(&files)
        && let Ok(ids) = tokenizer.encode("Hi there,  you\u{e9}\n1")
    {
        let _ = tokenizer.decode(&ids);
    }
}

/// A GGUF file as a model: what an accepted header promises can be read.
pub fn gguf_model(data: &[u8], folder: &Path) {
    let path = folder.join("model.gguf");
    fs::write(&path, data).expect("written");
    if let Ok(model) = checkpoint::open(&path) {
        read(model.as_ref());
    }
}

/// A folder as a model, `config.json` up to the first zero byte and `model.safetensors` behind it: what
/// accepted headers promise can be read, or is refused.
pub fn model_folder(data: &[u8], folder: &Path) {
    let Some(end) = data.iter().position(|&byte| byte == 0) else {
        return;
    };
    fs::write(folder.join("config.json"), &data[..end]).expect("written");
    fs::write(folder.join("model.safetensors"), &data[end + 1..]).expect("written");
    if let Ok(model) = checkpoint::open(folder) {
        read(model.as_ref());
        for (layer, projection) in model.config().projections().take(14) {
            let _ = model.projection(layer, projection);
            let _ = model.bias(layer, projection);
        }
    }
}

fn read(model: &dyn Checkpoint) {
    let config = model.config();
    assert!(config.parameter_count() > 0);
    let norm = model.norm(Norm::Final).expect("a norm of a checked header");
    assert_eq!(norm.len(), config.hidden_size);
    let rows = 0..config.vocab_size.min(2);
    if let Ok(rows) = model.table_rows(Table::Embedding, rows.clone()) {
        assert_eq!(rows.shape, [rows.shape[0], config.hidden_size]);
    }
    let _ = model.projection(0, Projection::Q);
    let _ = model.stop_ids();
    if let Ok(files) = model.tokenizer() {
        let _ = Tokenizer::from_files(&files);
    }
}
