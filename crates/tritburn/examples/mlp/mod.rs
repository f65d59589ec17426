//! The model that `train_and_pack` trains and `load_and_run` runs.

use std::path::PathBuf;

use burn::module::Module;
use burn::tensor::{Device, Tensor, activation::relu};
use tritburn::{BitLinear, BitLinearConfig};

/// Size of input and output.
pub const SIZE: usize = 16;

/// Where the trained model is saved.
pub fn file() -> PathBuf {
    std::env::temp_dir().join("tritburn-mlp.safetensors")
}

#[derive(Module, Debug)]
pub struct Mlp {
    up: BitLinear,
    down: BitLinear,
}

impl Mlp {
    pub fn new(device: &Device) -> Self {
        Self {
            up: BitLinearConfig::new(SIZE, 4 * SIZE).init(device),
            down: BitLinearConfig::new(4 * SIZE, SIZE).init(device),
        }
    }

    /// `[.., SIZE]` to `[.., SIZE]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.down.forward(relu(self.up.forward(x)))
    }
}
