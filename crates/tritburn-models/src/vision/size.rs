//! What a model weighs, and how it is stored.

use std::hash::{DefaultHasher, Hash, Hasher};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Bool, DType, ExecutionError, Int, Tensor, TensorData};
use half::f16;

use super::config::TernaryLayers;
use super::error::VisionError;
use super::model::VisionTransformer;

impl VisionTransformer {
    /// The model with positions and patch embedding rounded to values that 16 bits hold (f16, ties to even).
    /// [`save`](Self::save) stores those of a packed model in half the bytes then, and loses nothing.
    ///
    /// # Errors
    /// [`VisionError::Device`] if they cannot be read from the device.
    pub fn rounded(mut self) -> Result<Self, VisionError> {
        for param in [&mut self.positions, &mut self.patches.weight] {
            let rounded: Vec<f32> = values(param)?.into_iter().map(rounded).collect();
            let (dims, device) = (param.dims(), param.lazy_device());
            let data = TensorData::new(rounded, dims);
            let required = param.is_require_grad();
            *param = param
                .clone()
                .map(|_| Tensor::from_data(data, (&device, DType::F32)).set_require_grad(required));
        }
        Ok(self)
    }

    /// Whether any of its projections is packed.
    pub fn is_packed(&self) -> bool {
        let mut found = Packed(false);
        self.visit(&mut found);
        found.0
    }

    /// Bytes of all parameters as [`save`](Self::save) stores them: floats of a trained model, codes and
    /// scales of a packed one.
    ///
    /// # Errors
    /// [`VisionError::Device`] if parameters cannot be read from the device.
    pub fn byte_count(&self) -> Result<u64, VisionError> {
        let mut sum = Sum(0);
        self.stored()?.visit(&mut sum);
        Ok(sum.0)
    }

    /// Number of parameters: of a packed model, of the one that it was made of.
    pub fn parameter_count(&self) -> u64 {
        let config = self.config();
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let heads = config.heads();
        let key_values = 2 * heads.key_value * heads.size;
        let linear = |input: usize, output: usize| (input + 1) * output;
        let sub_norm = match config.ternary {
            TernaryLayers::All => width,
            _ => 0,
        };
        let attention = 2 * width + linear(width, width + key_values) + linear(width, width);
        let feed_forward = linear(width, inner) + linear(inner, width) + width + inner;
        let block = attention + sub_norm + feed_forward;
        let ends = linear(config.patch_values(), width) + linear(width, config.num_classes());
        let all = ends + config.tokens() * width + 2 * width + config.num_hidden_layers * block;
        all as u64
    }

    /// A checksum of all parameters, names included.
    ///
    /// # Errors
    /// [`VisionError::Device`] if parameters cannot be read from the device.
    pub fn checksum(&self) -> Result<u64, VisionError> {
        let mut sum = Checksum::default();
        self.visit(&mut sum);
        match sum.failed {
            Some(reason) => Err(VisionError::Device { reason }),
            None => Ok(sum.hasher.finish()),
        }
    }

    /// The model as it is stored: a packed one in 16 bits where that loses nothing.
    pub(super) fn stored(&self) -> Result<Self, VisionError> {
        let mut stored = self.clone();
        if !self.is_packed() || !self.device().supports_dtype(DType::F16) {
            return Ok(stored);
        }
        for param in [&mut stored.positions, &mut stored.patches.weight] {
            let exact = |value: &f32| rounded(*value) == *value;
            if values(param)?.iter().all(exact) {
                *param = param.clone().map(|value| value.cast(DType::F16));
            }
        }
        Ok(stored)
    }
}

fn rounded(value: f32) -> f32 {
    f16::from_f32(value).to_f32()
}

fn values(param: &Param<Tensor<2>>) -> Result<Vec<f32>, VisionError> {
    let values = param.val().detach().try_into_vec_as::<f32>();
    values.map_err(|error| VisionError::Device {
        reason: error.to_string(),
    })
}

/// Looks for codes.
struct Packed(bool);

impl ModuleVisitor for Packed {
    fn enter_module(&mut self, _name: &str, container_type: &str) {
        self.0 |= container_type == "Reparameterization";
    }
}

/// Hashes parameters.
#[derive(Default)]
struct Checksum {
    hasher: DefaultHasher,
    failed: Option<String>,
}

impl Checksum {
    fn add(&mut self, data: Result<TensorData, ExecutionError>) {
        match data {
            Ok(data) => data.as_bytes().hash(&mut self.hasher),
            Err(error) => self.failed = Some(error.to_string()),
        }
    }
}

impl ModuleVisitor for Checksum {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        name.hash(&mut self.hasher);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        // As one type: values that 16 bits hold are stored in them.
        self.add(param.base().detach().cast(DType::F32).try_into_data());
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.add(param.base().try_into_data());
    }
}

/// Adds up the bytes of parameters.
struct Sum(u64);

impl Sum {
    fn add(&mut self, values: usize, dtype: DType) {
        self.0 += (values * dtype.size()) as u64;
    }
}

impl ModuleVisitor for Sum {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let base = param.base();
        self.add(base.shape().num_elements(), base.dtype());
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        let base = param.base();
        self.add(base.shape().num_elements(), base.dtype());
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        let base = param.base();
        self.add(base.shape().num_elements(), base.dtype());
    }
}
