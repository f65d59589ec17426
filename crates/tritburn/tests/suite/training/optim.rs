//! AdamW and clipping by the global norm.

use burn::module::{Module, Param};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{DType, Device, Tensor};
use tritburn::optim::{AdamWConfig, GlobalNormClip, clip_by_global_norm};

use super::tensor;
use crate::common::{devices, relative_error, to_vec};

#[derive(Module, Debug)]
struct Model {
    matrix: Param<Tensor<2>>,
    vector: Param<Tensor<1>>,
    cube: Param<Tensor<3>>,
    idle: Param<Tensor<1>>,
}

impl Model {
    fn new(device: &Device) -> Self {
        let device = device.clone().autodiff();
        Self {
            // A view: parameters need not be in the order of their memory.
            matrix: Param::from_tensor(tensor::<2>(1, [20, 33], &device).transpose()),
            vector: Param::from_tensor(tensor(2, [65], &device)),
            cube: Param::from_tensor(tensor(3, [2, 3, 5], &device)),
            idle: Param::from_tensor(tensor(4, [3], &device)),
        }
    }

    /// Gradients that differ from step to step.
    fn gradients(&self, step: u64) -> GradientsParams {
        let device = self.vector.device();
        let weights = |seed: u64, len: usize| tensor::<1>(seed + 10 * step, [len], &device);
        let matrix = self.matrix.val().reshape([660]) * weights(5, 660);
        let vector = self.vector.val().square() * weights(6, 65);
        let cube = self.cube.val().reshape([30]) * weights(7, 30);
        let loss = matrix.sum() + vector.sum() + cube.sum();
        GradientsParams::from_grads(loss.backward(), self)
    }

    fn values(&self) -> [Vec<f32>; 4] {
        [
            to_vec(self.matrix.val()),
            to_vec(self.vector.val()),
            to_vec(self.cube.val()),
            to_vec(self.idle.val()),
        ]
    }
}

fn ours() -> ModuleOptimizer {
    AdamWConfig::new()
        .with_beta_2(0.95)
        .with_weight_decay(0.1)
        .init()
}

fn burns() -> ModuleOptimizer {
    burn::optim::AdamWConfig::new()
        .with_beta_2(0.95)
        .with_weight_decay(0.1)
        .init()
}

fn train(device: &Device, mut optimizer: ModuleOptimizer, steps: u64) -> Model {
    (0..steps).fold(Model::new(device), |model, step| {
        let grads = model.gradients(step);
        optimizer.step(0.01, model, grads)
    })
}

#[test]
fn steps_are_those_of_burn() {
    for device in devices() {
        let (found, expected) = (train(&device, ours(), 4), train(&device, burns(), 4));
        for (found, expected) in found.values().iter().zip(&expected.values()) {
            // Fused kernels of Burn may contract a product and a sum.
            let error = relative_error(found, expected);
            assert!(error < 1e-6, "{device:?}: {error}");
            #[cfg(feature = "flex")]
            if device == Device::flex() {
                assert_eq!(found, expected);
            }
        }
        assert_eq!(found.values()[3], Model::new(&device).values()[3]);
    }
}

#[test]
fn a_clone_of_the_model_keeps_its_values() {
    for device in devices() {
        let mut optimizer = ours();
        let model = Model::new(&device);
        let grads = model.gradients(0);
        let model = optimizer.step(0.01, model, grads);
        let (kept, before) = (model.clone(), model.values());
        let grads = model.gradients(1);
        let model = optimizer.step(0.01, model, grads);
        assert_eq!(kept.values(), before, "{device:?}");
        assert_ne!(model.values()[0], before[0]);
    }
}

#[test]
fn records_are_those_of_burn() {
    for device in devices() {
        let start = |mut optimizer: ModuleOptimizer| {
            let model = Model::new(&device);
            let grads = model.gradients(0);
            (optimizer.step(0.01, model, grads), optimizer)
        };
        let (model, optimizer) = start(burns());
        let mut resumed = ours()
            .from_bytes(optimizer.clone().into_bytes().unwrap())
            .unwrap();
        let mut optimizer = optimizer;
        let expected = optimizer.step(0.01, model.clone(), model.gradients(1));
        let found = resumed.step(0.01, model.clone(), model.gradients(1));
        let pairs = found.values().into_iter().zip(expected.values());
        for (found, expected) in pairs {
            assert!(relative_error(&found, &expected) < 1e-6, "{device:?}");
        }
    }
}

#[test]
fn gradients_are_scaled_to_the_largest_norm_allowed() {
    for device in devices() {
        let model = Model::new(&device);
        let list = |grads: &GradientsParams| {
            let mut all = to_vec(grads.get::<2>(model.matrix.id).unwrap());
            all.extend(to_vec(grads.get::<1>(model.vector.id).unwrap()));
            all.extend(to_vec(grads.get::<3>(model.cube.id).unwrap()));
            all
        };
        let before = list(&model.gradients(0));
        let expected = before
            .iter()
            .map(|&g| f64::from(g).powi(2))
            .sum::<f64>()
            .sqrt() as f32;
        for max_norm in [0.5 * expected, 2.0 * expected] {
            let (grads, norm) = clip_by_global_norm(model.gradients(0), &model, max_norm);
            assert_eq!((norm.dims(), norm.dtype()), ([1], DType::F32));
            let norm = to_vec(norm)[0];
            assert!(
                (norm - expected).abs() < 1e-5 * expected,
                "{norm} {expected}"
            );
            let factor = (max_norm / expected).min(1.0);
            let scaled: Vec<f32> = before.iter().map(|g| g * factor).collect();
            assert!(relative_error(&list(&grads), &scaled) < 1e-5, "{device:?}");
        }
    }
}

#[test]
fn without_gradients_the_norm_is_zero() {
    for device in devices() {
        let model = Model::new(&device);
        let (grads, norm) = clip_by_global_norm(GradientsParams::new(), &model, 1.0);
        assert!(grads.is_empty());
        assert_eq!(to_vec(norm), [0.0]);
    }
}

#[test]
fn a_clip_inside_of_the_step_is_the_one_before_it() {
    for device in devices() {
        for max_norm in [0.25, 1e6] {
            let config = AdamWConfig::new().with_weight_decay(0.1);
            let mut before = config.init();
            let clip = GlobalNormClip::new(max_norm);
            let mut inside = ModuleOptimizer::from(config.build().with_clip(clip.clone()));
            let (mut expected, mut found) = (Model::new(&device), Model::new(&device));
            for step in 0..3 {
                let grads = found.gradients(step);
                let norm = clip.measure(&grads, &found);
                found = inside.step(0.01, found, grads);
                let grads = expected.gradients(step);
                let (grads, expected_norm) = clip_by_global_norm(grads, &expected, max_norm);
                expected = before.step(0.01, expected, grads);
                assert_eq!(to_vec(norm), to_vec(expected_norm), "{device:?}");
            }
            for (found, expected) in found.values().iter().zip(&expected.values()) {
                assert!(relative_error(found, expected) < 1e-6, "{device:?}");
            }
        }
    }
}
