//! The toy BitNet, in a folder of its own: test programs also run where the sources are not.

use std::fs;

use burn::tensor::Device;
use tempfile::TempDir;
use tritburn_formats::PackedMatrix;
use tritburn_models::checkpoint::Checkpoint;

/// Files of the toy model in one of its two forms.
macro_rules! files {
    ($form:literal) => {
        [
            (
                "config.json",
                &include_bytes!(concat!("../data/bitnet-tiny/", $form, "/config.json"))[..],
            ),
            (
                "model.safetensors",
                &include_bytes!(concat!("../data/bitnet-tiny/", $form, "/model.safetensors"))[..],
            ),
            (
                "tokenizer.json",
                &include_bytes!(concat!("../data/bitnet-tiny/", $form, "/tokenizer.json"))[..],
            ),
            (
                "tokenizer_config.json",
                &include_bytes!(concat!(
                    "../data/bitnet-tiny/",
                    $form,
                    "/tokenizer_config.json"
                ))[..],
            ),
            (
                "chat_template.jinja",
                &include_bytes!(concat!(
                    "../data/bitnet-tiny/",
                    $form,
                    "/chat_template.jinja"
                ))[..],
            ),
        ]
    };
}

/// What Hugging Face transformers gave for the toy model.
pub const EXPECTED: &[u8] = include_bytes!("../data/bitnet-tiny/expected.safetensors");

/// A form of the toy model.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// bf16 master weights, quantised online.
    Masters,
    /// Packed codes.
    Packed,
}

impl Form {
    /// The model in a folder.
    pub fn folder(self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let files = match self {
            Self::Masters => files!("bf16"),
            Self::Packed => files!("packed"),
        };
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }
}

/// Every device this build can test on.
// `vec![]` takes no `cfg` on its elements.
#[allow(clippy::vec_init_then_push, unused_mut)]
pub fn devices() -> Vec<Device> {
    let mut devices = Vec::new();
    #[cfg(feature = "flex")]
    devices.push(Device::flex());
    #[cfg(feature = "cpu")]
    devices.push(Device::cpu());
    #[cfg(feature = "cuda")]
    devices.push(Device::cuda(burn::tensor::DeviceIndex::Default));
    #[cfg(feature = "vulkan")]
    devices.push(Device::vulkan(burn::tensor::DeviceKind::DefaultDevice));
    devices
}

/// Whether `device` compiles and tunes for seconds for every shape, as CubeCL's CPU runtime does: some tests
/// run a part of their cases there.
pub fn is_slow(device: &Device) -> bool {
    #[cfg(feature = "cpu")]
    return *device == Device::cpu();
    #[cfg(not(feature = "cpu"))]
    {
        let _ = device;
        false
    }
}

/// Numbers that are the same in every run.
pub struct Numbers(pub u64);

impl Numbers {
    /// Between -1 and 1.
    pub fn next(&mut self) -> f32 {
        // Knuth's MMIX generator; its high bits are good.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// All projections of a model, packed.
pub fn projections(model: &dyn Checkpoint) -> Vec<PackedMatrix> {
    let projections = model.config().projections();
    projections
        .map(|(layer, p)| {
            model
                .projection(layer, p)
                .unwrap()
                .into_packed("w")
                .unwrap()
        })
        .collect()
}
