//! Folders: what is in them, and what becomes of earlier ones.

use std::fs;

use burn::tensor::DType;
use tritburn_models::VisionTransformer;
use tritburn_models::vision::{Labelling, TernaryLayers, VisionConfig, VisionError, is_folder};

use super::{config, model};
use crate::common::devices;

#[test]
fn a_folder_comes_back_as_it_was_written() {
    let device = &devices()[0];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep").join("model");
    let config = VisionConfig {
        labelling: Labelling::Multi,
        causal: true,
        mean: vec![0.1, 0.2, 0.3],
        ..config(TernaryLayers::All)
    };
    let model = model(&config, device);
    assert!(!is_folder(&path));
    model.save(&path, false).unwrap();
    assert!(is_folder(&path));
    assert_eq!(VisionConfig::load(&path).unwrap(), config);
    let loaded = VisionTransformer::load(&path, DType::F32, device).unwrap();
    assert_eq!(loaded.config(), &config);
    assert_eq!(loaded.checksum().unwrap(), model.checksum().unwrap());
    let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing but the folder is left");
}

#[test]
fn only_an_earlier_model_is_replaced_and_only_if_asked() {
    let device = &devices()[0];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let model = model(&config(TernaryLayers::None), device);
    model.save(&path, false).unwrap();
    let exists = |error| matches!(error, Err(VisionError::Exists { .. }));
    assert!(exists(model.save(&path, false)));
    model.save(&path, true).unwrap();
    fs::write(path.join("notes.txt"), "mine").unwrap();
    assert!(exists(model.save(&path, true)));
    assert_eq!(fs::read_to_string(path.join("notes.txt")).unwrap(), "mine");
    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("config.json"), r#"{"model_type": "bitnet"}"#).unwrap();
    assert!(exists(model.save(&other, true)));
}

#[test]
fn damaged_folders_are_refused_with_what_is_wrong() {
    let device = &devices()[0];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    model(&config(TernaryLayers::FeedForward), device)
        .save(&path, false)
        .unwrap();
    let load = || VisionTransformer::load(&path, DType::F32, device).unwrap_err();
    let text = fs::read_to_string(path.join("config.json")).unwrap();
    let with = |from: &str, to: &str| {
        let changed = text.replace(from, to);
        assert_ne!(changed, text, "{from}");
        fs::write(path.join("config.json"), changed).unwrap();
    };
    for (from, to, said) in [
        ("tritburn-vit", "vit", "model_type"),
        ("\"causal\"", "\"casual\"", "casual"),
        (
            "\"hidden_size\": 48",
            "\"hidden_size\": 47",
            "hidden_size 47 is not a multiple",
        ),
        (
            "\"hidden_size\": 48",
            "\"hidden_size\": 0",
            "hidden_size is 0",
        ),
        (
            "\"hidden_size\": 48",
            "\"hidden_size\": 999999999999",
            "65536 at most",
        ),
        ("\"num_channels\": 3", "\"num_channels\": 4", "4 channels"),
        (
            "\"norm_eps\": 0.00001",
            "\"norm_eps\": -1.0",
            "norm_eps is -1",
        ),
        (
            "\"intermediate_size\": 100",
            "\"intermediate_size\": 96",
            "describes",
        ),
        ("}", "", "EOF"),
    ] {
        match text.contains(from) {
            true => with(from, to),
            // How serde writes a small number is its own.
            false => with("1e-5", "-1.0"),
        }
        let error = load().to_string();
        assert!(error.contains(said), "{to}: {error}");
    }
    fs::write(path.join("config.json"), &text).unwrap();
    let weights = path.join("model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() - 5]).unwrap();
    assert!(matches!(load(), VisionError::Store(_)));
    fs::remove_file(&weights).unwrap();
    assert!(matches!(load(), VisionError::Store(_)));
    fs::remove_file(path.join("config.json")).unwrap();
    assert!(matches!(load(), VisionError::Read { .. }));
}
