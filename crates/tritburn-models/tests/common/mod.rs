//! The toy BitNet, in a folder of its own: test programs also run where the sources are not.

use std::fs;

use burn::tensor::Device;
use tempfile::TempDir;

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

/// Flex; CubeCL devices run the same model through the kernels that the kernel crate tests.
pub fn devices() -> Vec<Device> {
    #[cfg(feature = "flex")]
    return vec![Device::flex()];
    #[cfg(not(feature = "flex"))]
    Vec::new()
}
