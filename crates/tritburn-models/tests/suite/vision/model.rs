//! What the model computes.

use burn::module::Module;
use burn::tensor::{DType, Tensor, TensorData};
use tritburn_models::vision::{Classifier, DropPath, Picture, TernaryLayers, VisionConfig};

use super::{ALL, config, everywhere, images, model, values};
use crate::common::devices;

#[test]
fn every_image_of_a_batch_is_seen_by_itself() {
    for device in devices() {
        let config = config(TernaryLayers::FeedForward);
        let model = model(&config, &device);
        let three = images(3, &config, &device);
        let all = values(model.logits(three.clone()).unwrap());
        for image in 0..3 {
            let one = values(model.logits(three.clone().narrow(0, image, 1)).unwrap());
            for (one, all) in one.iter().zip(&all[image * 5..]) {
                assert!((one - all).abs() < 1e-4, "{one} is not {all}");
            }
        }
    }
}

/// One image with patch (`row`, `column`) of 2 x 2 pixels turned to its negative.
fn with_patch_turned(image: &Tensor<4>, row: usize, column: usize) -> Tensor<4> {
    let mut values = values(image.clone());
    for channel in 0..3 {
        for (y, x) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let at = channel * 100 + (2 * row + y) * 10 + 2 * column + x;
            values[at] = -values[at];
        }
    }
    let data = TensorData::new(values, image.dims());
    Tensor::from_data(data, &image.device())
}

#[test]
fn patches_see_each_other_unless_the_model_is_causal() {
    let device = &devices()[0];
    for (causal, ternary) in [false, true].into_iter().flat_map(|c| ALL.map(|t| (c, t))) {
        let config = VisionConfig {
            causal,
            ..config(ternary)
        };
        let model = model(&config, device);
        let image = images(1, &config, device);
        // Patch 13 of 25, in the third row.
        let turned = with_patch_turned(&image, 2, 3);
        let before = model.features(image).unwrap();
        let after = model.features(turned).unwrap();
        let moved: Vec<f32> = values((before - after).abs().max_dim(2));
        for (patch, moved) in moved.into_iter().enumerate() {
            let sees = !causal || patch >= 13;
            assert_eq!(moved > 0.0, sees, "patch {patch}, causal: {causal}");
        }
    }
}

#[test]
fn every_parameter_has_a_gradient() {
    for (device, ternary) in everywhere() {
        let config = config(ternary);
        let model = model(&config, &device.clone().autodiff());
        let images = images(2, &config, &device).autodiff();
        let loss = model.logits(images).unwrap().square();
        let gradients = burn::optim::GradientsParams::from_grads(loss.backward(), &model);
        // A block: norm 2, q|k|v 2, output 2 (3 with its norm), up 3, down 3. Ends: patches 2, positions 1,
        // norm 2, head 2.
        let block = 12 + usize::from(ternary == TernaryLayers::All);
        assert_eq!(gradients.len(), 2 * block + 7);
    }
}

#[test]
fn paths_are_dropped_by_the_seed_and_their_mean_stays() {
    let device = &devices()[0];
    let config = config(TernaryLayers::None);
    let model = model(&config, device);
    let images = images(4, &config, device);
    let with = |rate, seed| {
        let dropped = DropPath { rate, seed };
        values(model.features_with(images.clone(), Some(dropped)).unwrap())
    };
    let plain = values(model.features(images.clone()).unwrap());
    assert_eq!(with(0.0, 1), plain);
    assert_eq!(with(0.5, 1), with(0.5, 1));
    assert_ne!(with(0.5, 1), with(0.5, 2));
    assert_ne!(with(0.5, 1), plain);
}

#[test]
fn half_precision_is_near_to_single() {
    let device = &devices()[0];
    let config = config(TernaryLayers::None);
    let exact = model(&config, device);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    exact.save(&path, false).unwrap();
    let half = tritburn_models::VisionTransformer::load(&path, DType::BF16, device).unwrap();
    let images = images(2, &config, device);
    assert_eq!(half.features(images.clone()).unwrap().dtype(), DType::BF16);
    let half = half.logits(images.clone()).unwrap();
    assert_eq!(half.dtype(), DType::F32);
    let pairs = values(half)
        .into_iter()
        .zip(values(exact.logits(images).unwrap()));
    for (half, exact) in pairs {
        assert!((half - exact).abs() < 0.1, "{half} is far from {exact}");
    }
}

#[test]
fn a_classifier_says_what_the_model_says_of_the_same_pixels() {
    for device in devices() {
        let config = VisionConfig {
            mean: vec![0.4, 0.5, 0.6],
            std: vec![0.2, 0.3, 0.4],
            ..config(TernaryLayers::All)
        };
        let model = model(&config, &device).no_grad();
        let picture = |seed: usize| Picture {
            size: 10,
            channels: 3,
            pixels: (0..300).map(|at| (at * 37 + seed * 91) as u8).collect(),
        };
        let pictures = [picture(1), picture(2)];
        let batch = Picture::batch(&pictures, &config, &device).unwrap();
        let expected = values(model.logits(batch).unwrap());
        let mut classifier = Classifier::new(model, 2).unwrap();
        let found = values(classifier.logits(&pictures).unwrap());
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found - expected).abs() < 2e-2, "{found} is not {expected}");
        }
    }
}
