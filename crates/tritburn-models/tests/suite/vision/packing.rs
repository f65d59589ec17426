//! Packed models and the trained ones that they were made of.

use burn::module::Module;
use tritburn::Pack;
use tritburn_models::VisionTransformer;
use tritburn_models::vision::{TernaryLayers, VisionConfig};

use super::{ALL, config, everywhere, images, model, values};
use crate::common::devices;

#[test]
fn a_packed_model_says_what_the_trained_one_says_from_memory_and_from_its_folder() {
    for (device, ternary) in everywhere() {
        let config = config(ternary);
        let trained = model(&config, &device.clone().autodiff())
            .valid()
            .rounded()
            .unwrap();
        let images = images(7, &config, &device);
        let expected = values(trained.logits(images.clone()).unwrap());
        let packed = trained.pack().unwrap();
        assert_eq!(packed.is_packed(), ternary != TernaryLayers::None);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("packed");
        packed.save(&path, false).unwrap();
        let loaded = VisionTransformer::load(&path, packed.dtype(), &device).unwrap();
        assert_eq!(loaded.is_packed(), packed.is_packed());
        assert_eq!(loaded.checksum().unwrap(), packed.checksum().unwrap());
        for model in [packed, loaded] {
            let found = values(model.logits(images.clone()).unwrap());
            let largest = |row: &[f32]| (0..5).max_by(|&a, &b| row[a].total_cmp(&row[b]));
            for (found, expected) in found.chunks(5).zip(expected.chunks(5)) {
                assert_eq!(largest(found), largest(expected));
                for (found, expected) in found.iter().zip(expected) {
                    assert!((found - expected).abs() < 1e-3, "{found} is not {expected}");
                }
            }
        }
    }
}

#[test]
fn what_16_bits_hold_is_stored_in_them_and_nothing_else() {
    let device = &devices()[0];
    let config = config(TernaryLayers::FeedForward);
    let halved = (25 * 48 + 12 * 48) as u64;
    let exact = model(&config, device).no_grad();
    let rounded = exact.clone().rounded().unwrap();
    let bytes = |model: &VisionTransformer| model.pack().unwrap().byte_count().unwrap();
    assert_eq!(bytes(&exact) - bytes(&rounded), 2 * halved);
    assert_eq!(exact.byte_count().unwrap(), rounded.byte_count().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("packed");
    exact.pack().unwrap().save(&path, false).unwrap();
    let loaded = VisionTransformer::load(&path, exact.dtype(), device).unwrap();
    let images = images(2, &config, device);
    let logits = |model: &VisionTransformer| values(model.logits(images.clone()).unwrap());
    assert_eq!(logits(&loaded), logits(&exact.pack().unwrap()));
}

#[test]
fn parameters_are_counted_without_headers() {
    let device = &devices()[0];
    for ternary in ALL {
        let model = model(&config(ternary), device);
        let ternary_layers = match ternary {
            TernaryLayers::None => 0,
            TernaryLayers::FeedForward => 4,
            _ => 8,
        };
        let headers = match ternary_layers {
            0 => 0,
            _ => model.num_params() as u64 - model.parameter_count(),
        };
        assert_eq!(model.num_params() as u64, model.parameter_count() + headers);
        assert!(headers <= ternary_layers * 16, "{headers} words of headers");
    }
}

#[test]
fn bitmedvit_packs_to_ten_megabytes_and_all_ternary_to_three_and_a_half() {
    let device = &devices()[0];
    for (ternary, most) in [
        (TernaryLayers::FeedForward, 10_500_000),
        (TernaryLayers::All, 3_500_000),
    ] {
        let config = VisionConfig {
            ternary,
            ..VisionConfig::new(3, ["a", "b", "c", "d", "e", "f", "g", "h", "i"])
        };
        let model = VisionTransformer::new(&config, burn::tensor::DType::F32, device).unwrap();
        let packed = model.no_grad().rounded().unwrap().pack().unwrap();
        let bytes = packed.byte_count().unwrap();
        assert!(bytes < most, "{ternary:?}: {bytes} bytes");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("packed");
        packed.save(&path, false).unwrap();
        let file = std::fs::metadata(path.join("model.safetensors"))
            .unwrap()
            .len();
        assert!(file < most, "{ternary:?}: a file of {file} bytes");
        // All but the names and shapes in its head.
        assert!((file - bytes) < 16_000, "{file} bytes for {bytes}");
    }
}
