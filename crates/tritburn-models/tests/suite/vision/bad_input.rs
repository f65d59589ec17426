//! What cannot be classified, and is refused by name.

use std::fs;
use std::path::Path;

use burn::tensor::{DType, Tensor};
use image::{DynamicImage, GrayImage, RgbImage};
use tritburn_models::vision::{
    Classifier, ConfigProblem, Fit, Picture, TernaryLayers, VisionConfig, VisionError,
    VisionTransformer,
};

use super::{config, images, model};
use crate::common::devices;

#[test]
fn images_of_another_shape_are_refused_with_both() {
    let device = &devices()[0];
    let config = config(TernaryLayers::FeedForward);
    let model = model(&config, device);
    for shape in [[2, 1, 10, 10], [2, 3, 10, 12], [2, 3, 12, 12]] {
        let error = model.logits(Tensor::zeros(shape, device)).unwrap_err();
        let VisionError::ImageShape { found, expected } = error else {
            panic!("{error}");
        };
        assert_eq!(
            (found, expected),
            ([shape[1], shape[2], shape[3]], [3, 10, 10])
        );
    }
    let none = model.logits(images(0, &config, device)).unwrap_err();
    assert!(matches!(none, VisionError::NoImages));
    let types = VisionTransformer::new(&config, DType::I32, device).unwrap_err();
    assert!(matches!(
        types,
        VisionError::ActivationType { found: DType::I32 }
    ));
}

#[test]
fn classifiers_take_as_many_images_as_they_were_made_for() {
    let device = &devices()[0];
    let config = config(TernaryLayers::FeedForward);
    let black = |size| Picture {
        size,
        channels: 3,
        pixels: vec![0; 3 * size * size],
    };
    let mut classifier = Classifier::new(model(&config, device), 2).unwrap();
    let error = classifier.logits(&[black(10)]).unwrap_err();
    assert!(matches!(
        error,
        VisionError::Batch {
            found: 1,
            expected: 2
        }
    ));
    let error = classifier.logits(&[black(10), black(11)]).unwrap_err();
    assert!(matches!(error, VisionError::ImageShape { .. }));
    assert!(matches!(
        Classifier::new(model(&config, device), 0),
        Err(VisionError::NoImages)
    ));
    assert!(matches!(
        Picture::batch(&[], &config, device),
        Err(VisionError::NoImages)
    ));
}

#[test]
fn sizes_that_make_no_model_are_named() {
    let good = || config(TernaryLayers::FeedForward);
    for (config, said) in [
        (
            VisionConfig {
                patch_size: 3,
                ..good()
            },
            "image_size 10 is not a multiple of patch_size 3",
        ),
        (
            VisionConfig {
                num_key_value_heads: 4,
                ..good()
            },
            "num_attention_heads 6 is not a multiple",
        ),
        (
            VisionConfig {
                labels: vec!["one".into()],
                ..good()
            },
            "nothing to tell apart",
        ),
        (
            VisionConfig {
                mean: vec![0.5],
                ..good()
            },
            "1 values of mean for 3 channels",
        ),
        (
            VisionConfig {
                std: vec![1.0, 0.0, 1.0],
                ..good()
            },
            "std is 0",
        ),
        (
            VisionConfig {
                image_size: 60_000,
                ..good()
            },
            "number of patches",
        ),
    ] {
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    assert_eq!(good().validate(), Ok::<(), ConfigProblem>(()));
}

fn save(image: impl Into<DynamicImage>, path: &Path) {
    image.into().save(path).unwrap();
}

#[test]
fn files_that_are_no_fitting_image_are_refused_and_fitted_if_asked() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    save(
        RgbImage::from_pixel(10, 10, [200, 100, 50].into()),
        &at("good.png"),
    );
    save(
        RgbImage::from_pixel(10, 10, [200, 100, 50].into()),
        &at("good.jpg"),
    );
    save(
        RgbImage::from_pixel(20, 12, [200, 100, 50].into()),
        &at("large.png"),
    );
    save(GrayImage::from_pixel(10, 10, [7].into()), &at("grey.png"));
    save(DynamicImage::new_rgb16(10, 10), &at("deep.png"));
    let png = fs::read(at("good.png")).unwrap();
    fs::write(at("short.png"), &png[..png.len() / 2]).unwrap();
    let mut flipped = png.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x40;
    fs::write(at("flipped.png"), flipped).unwrap();
    fs::write(at("text.png"), "not an image").unwrap();

    let open = |name: &str, fit| Picture::open(at(name), 3, 10, fit);
    let good = open("good.png", Fit::Exact).unwrap();
    assert_eq!(good.pixels, [200, 100, 50].repeat(100));
    // What a file is goes by its content.
    fs::copy(at("good.png"), at("png.jpg")).unwrap();
    assert_eq!(open("png.jpg", Fit::Exact).unwrap(), good);
    let jpeg = open("good.jpg", Fit::Exact).unwrap();
    assert!(
        jpeg.pixels
            .iter()
            .zip(&good.pixels)
            .all(|(a, b)| a.abs_diff(*b) < 4)
    );

    let refused = |name: &str| open(name, Fit::Exact).unwrap_err();
    let size = refused("large.png");
    assert!(matches!(
        size,
        VisionError::Size {
            width: 20,
            height: 12,
            expected: 10,
            ..
        }
    ));
    for (name, pixels) in [("grey.png", "L8"), ("deep.png", "Rgb16")] {
        let error = refused(name);
        assert!(matches!(error, VisionError::Pixels { .. }));
        assert!(error.to_string().contains(pixels), "{error}");
    }
    for name in ["short.png", "flipped.png", "text.png"] {
        let error = open(name, Fit::Convert).unwrap_err();
        assert!(matches!(error, VisionError::Decode { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    assert!(matches!(refused("nothing.png"), VisionError::Read { .. }));

    assert_eq!(open("large.png", Fit::Convert).unwrap(), good);
    let grey = open("grey.png", Fit::Convert).unwrap();
    assert_eq!(grey.pixels, vec![7; 300]);
}
