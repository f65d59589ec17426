//! The vision transformer: what is trained is what is served.

mod bad_input;
mod folder;
mod model;
mod packing;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use tritburn_models::vision::{Labelling, TernaryLayers, VisionConfig, VisionTransformer};

use crate::common::{Numbers, devices, is_slow};

/// Awkward sizes: 25 patches of 12 values, grouped heads, an inner width that is no multiple of 16.
fn config(ternary: TernaryLayers) -> VisionConfig {
    VisionConfig {
        image_size: 10,
        patch_size: 2,
        hidden_size: 48,
        num_hidden_layers: 2,
        num_attention_heads: 6,
        num_key_value_heads: 2,
        intermediate_size: 100,
        ternary,
        labelling: Labelling::Single,
        ..VisionConfig::new(3, ["cat", "dog", "bird", "fish", "frog"])
    }
}

const ALL: [TernaryLayers; 3] = [
    TernaryLayers::None,
    TernaryLayers::FeedForward,
    TernaryLayers::All,
];

/// All models on all devices; on slow ones the model of the paper.
fn everywhere() -> Vec<(Device, TernaryLayers)> {
    let all = devices().into_iter().flat_map(|device| {
        let models = if is_slow(&device) {
            &ALL[1..2]
        } else {
            &ALL[..]
        };
        models.iter().map(move |&ternary| (device.clone(), ternary))
    });
    all.collect()
}

/// A model of random weights, gains and biases: the same in every run, whatever else draws numbers on the
/// device meanwhile.
fn model(config: &VisionConfig, device: &Device) -> VisionTransformer {
    let model = VisionTransformer::new(config, DType::F32, device).unwrap();
    model.map(&mut Redraw(Numbers(7)))
}

/// Draws every parameter again.
struct Redraw(Numbers);

impl ModuleMapper for Redraw {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| {
            let dims = value.dims();
            let bound = match dims[..] {
                [.., inputs] if D == 2 => (3.0 / inputs as f32).sqrt(),
                _ => 0.3,
            };
            let middle = if D == 1 { 0.8 } else { 0.0 };
            let count = dims.iter().product();
            let values: Vec<f32> = (0..count).map(|_| middle + bound * self.0.next()).collect();
            let required = value.is_require_grad();
            let data = TensorData::new(values, dims);
            Tensor::from_data(data, &value.device()).set_require_grad(required)
        })
    }
}

/// Images of values between -1 and 1.
fn images(count: usize, config: &VisionConfig, device: &Device) -> Tensor<4> {
    let [channels, height, width] = config.image_shape();
    let shape = [count, channels, height, width];
    let mut numbers = Numbers(11);
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| numbers.next())
        .collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}
