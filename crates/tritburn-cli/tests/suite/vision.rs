//! Vision transformers: `classify`, `inspect`, `convert`.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use image::{GrayImage, RgbImage};
use serde_json::Value;
use tritburn_models::VisionTransformer;
use tritburn_models::vision::{Labelling, Picture, TernaryLayers, VisionConfig};

use crate::common::*;

/// A model of random weights in a folder, and two images.
struct Toy {
    folder: tempfile::TempDir,
    model: VisionTransformer,
}

impl Toy {
    fn new(ternary: TernaryLayers, labelling: Labelling) -> Self {
        let config = VisionConfig {
            image_size: 8,
            patch_size: 4,
            hidden_size: 32,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            intermediate_size: 48,
            ternary,
            labelling,
            ..VisionConfig::new(3, ["ant", "bee", "cat", "dog"])
        };
        let model = VisionTransformer::new(&config, DType::F32, &Device::flex()).unwrap();
        let model = model.rounded().unwrap();
        let folder = tempfile::tempdir().unwrap();
        model.save(folder.path().join("model"), false).unwrap();
        let toy = Self { folder, model };
        for (name, seed) in [("one.png", 1), ("two.png", 2)] {
            let pixel = |x: u32, y: u32| [(x * 30 * seed) as u8, (y * 30) as u8, 99].into();
            RgbImage::from_fn(8, 8, pixel).save(toy.at(name)).unwrap();
        }
        GrayImage::from_pixel(20, 10, [50].into())
            .save(toy.at("grey.png"))
            .unwrap();
        toy
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the model itself says of an image.
    fn logits(&self, image: &Path) -> Vec<f32> {
        let picture = Picture::open(image, 3, 8, Default::default()).unwrap();
        let batch = Picture::batch(&[picture], self.model.config(), &Device::flex()).unwrap();
        let logits = self.model.logits(batch).unwrap();
        logits.into_data().iter::<f32>().collect()
    }
}

fn classify(model: &Path, images: &[&Path], more: &[&str]) -> Vec<Value> {
    let mut args = vec![
        "classify",
        "--model",
        path(model),
        "--json",
        "--device",
        "flex",
    ];
    args.extend(images.iter().map(|image| path(image)));
    args.extend(more);
    let said = succeed(&args);
    said.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn images_are_classified_as_the_model_says_trained_and_packed() {
    let toy = Toy::new(TernaryLayers::FeedForward, Labelling::Single);
    let (one, two) = (toy.at("one.png"), toy.at("two.png"));
    let (model, packed) = (toy.at("model"), toy.at("packed"));
    succeed(&["convert", path(&model), path(&packed), "--to", "tritburn"]);
    let said = classify(&model, &[&one, &two], &["--batch-size", "1"]);
    for (line, image) in said.iter().zip([&one, &two]) {
        let logits = toy.logits(image);
        let sum: f32 = logits.iter().map(|logit| logit.exp()).sum();
        assert_eq!(line["image"], path(image));
        let classes = line["classes"].as_array().unwrap();
        assert_eq!(classes.len(), 4);
        assert_eq!(line["class"], classes[0]["class"]);
        let mut last = 1.0;
        for class in classes {
            let probability = class["probability"].as_f64().unwrap();
            let number = class["class"].as_u64().unwrap() as usize;
            let expected = f64::from(logits[number].exp() / sum);
            assert!((probability - expected).abs() < 1e-4, "{line}");
            assert!(probability <= last);
            last = probability;
            assert_eq!(class["label"], toy.model.config().labels[number].as_str());
        }
    }
    assert_eq!(
        classify(&packed, &[&one, &two], &[]),
        classify(&model, &[&one, &two], &[])
    );
    let text = succeed(&["classify", "-m", path(&model), path(&one), "--top", "2"]);
    let label = said[0]["label"].as_str().unwrap();
    assert!(
        text.starts_with(&format!("{}: {label} ", one.display())),
        "{text}"
    );
    assert_eq!(text.matches('%').count(), 2, "{text}");
}

#[test]
fn several_labels_have_a_probability_each() {
    let toy = Toy::new(TernaryLayers::All, Labelling::Multi);
    let one = toy.at("one.png");
    let said = classify(&toy.at("model"), &[&one], &[]);
    assert_eq!(said[0]["multi_label"], true);
    let logits = toy.logits(&one);
    for class in said[0]["classes"].as_array().unwrap() {
        let logit = f64::from(logits[class["class"].as_u64().unwrap() as usize]);
        let expected = 1.0 / (1.0 + (-logit).exp());
        assert!((class["probability"].as_f64().unwrap() - expected).abs() < 1e-4);
    }
}

#[test]
fn other_images_are_refused_unless_they_are_to_be_fitted() {
    let toy = Toy::new(TernaryLayers::FeedForward, Labelling::Single);
    let (model, grey) = (toy.at("model"), toy.at("grey.png"));
    let message = fail(&["classify", "--model", path(&model), path(&grey)]);
    assert!(
        message.contains("type L8") && message.contains("--fit"),
        "{message}"
    );
    assert_eq!(classify(&model, &[&grey], &["--fit"]).len(), 1);
    std::fs::write(toy.at("bad.png"), "no image").unwrap();
    let bad = toy.at("bad.png");
    let message = fail(&["classify", "--model", path(&model), path(&bad), "--fit"]);
    assert!(message.contains("bad.png is no image"), "{message}");
    let message = fail(&[
        "classify",
        "--model",
        path(&toy_folder().join("bf16")),
        path(&bad),
    ]);
    assert!(message.contains("model_type"), "{message}");
    let message = fail(&[
        "classify",
        "--model",
        path(&model),
        path(&bad),
        "--batch-size",
        "0",
    ]);
    assert!(message.contains("--batch-size 0"), "{message}");
}

#[test]
fn inspect_tells_what_a_folder_holds_and_what_is_wrong_with_it() {
    let toy = Toy::new(TernaryLayers::FeedForward, Labelling::Single);
    let (model, packed) = (toy.at("model"), toy.at("packed"));
    let report = json(&["inspect", path(&model), "--json"]);
    assert_eq!(
        (&report["model"], &report["master_weights"]),
        (&"tritburn-vit".into(), &true.into())
    );
    assert_eq!(report["parameters"], toy.model.parameter_count());
    let shares: f64 = report["codes"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_f64)
        .sum();
    assert!((shares - 1.0).abs() < 1e-9);
    let done = json(&[
        "convert",
        path(&model),
        path(&packed),
        "--to",
        "tritburn",
        "--json",
    ]);
    assert_eq!(done["verified"], true);
    assert!(done["bytes"].as_u64() < done["source_bytes"].as_u64());
    let small = json(&["inspect", path(&packed), "--json"]);
    assert_eq!(small["codes"], report["codes"]);
    assert_eq!(small["bits_per_weight"], 2.0);
    let text = succeed(&["inspect", path(&packed)]);
    assert!(text.contains("4: ant, bee, cat, dog"), "{text}");

    let message = fail(&["convert", path(&model), path(&packed), "--to", "tritburn"]);
    assert!(message.contains("--force"), "{message}");
    succeed(&[
        "convert",
        path(&model),
        path(&packed),
        "--to",
        "tritburn",
        "--force",
    ]);
    let message = fail(&[
        "convert",
        path(&model),
        path(&toy.at("x.gguf")),
        "--to",
        "gguf-i2_s",
    ]);
    assert!(message.contains("--to tritburn"), "{message}");
    let float = Toy::new(TernaryLayers::None, Labelling::Single);
    let message = fail(&[
        "convert",
        path(&float.at("model")),
        path(&toy.at("y")),
        "--to",
        "tritburn",
    ]);
    assert!(message.contains("nothing to pack"), "{message}");

    let config = packed.join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(
        &config,
        text.replace("\"hidden_size\": 32", "\"hidden_size\": 64"),
    )
    .unwrap();
    let output = tritburn(&["inspect", path(&packed)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(self::text(&output.stdout).contains("problem: "));
}
