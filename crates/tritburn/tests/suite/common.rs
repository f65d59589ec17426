//! Helpers of the integration tests: devices to run on and plain references.

use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Every device this build can test on.
pub fn devices() -> Vec<Device> {
    let mut devices = Vec::new();
    #[cfg(feature = "flex")]
    devices.push(Device::flex());
    #[cfg(feature = "cube")]
    devices.extend(cube_devices());
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

/// One device, for tests of what does not depend on it.
pub fn device() -> Device {
    devices().swap_remove(0)
}

/// The CubeCL devices among them.
#[cfg(feature = "cube")]
// `vec![]` takes no `cfg` on its elements.
#[allow(clippy::vec_init_then_push)]
pub fn cube_devices() -> Vec<Device> {
    let mut devices = Vec::new();
    #[cfg(feature = "cpu")]
    devices.push(Device::cpu());
    #[cfg(feature = "cuda")]
    devices.push(Device::cuda(burn::tensor::DeviceIndex::Default));
    #[cfg(feature = "vulkan")]
    devices.push(Device::vulkan(burn::tensor::DeviceKind::DefaultDevice));
    devices
}

/// Reproducible normal-ish values.
pub fn values(seed: u64, len: usize) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..len)
        .map(|_| (0..4).map(|_| rng.random_range(-1.0f32..1.0)).sum::<f32>())
        .collect()
}

/// A `[rows, cols]` tensor of [`values`].
pub fn matrix(seed: u64, rows: usize, cols: usize, device: &Device) -> Tensor<2> {
    Tensor::from_data(
        TensorData::new(values(seed, rows * cols), [rows, cols]),
        device,
    )
}

/// A tensor's values in f32. Its shape and dtype are those announced, which Fusion never compares.
pub fn to_vec<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let announced = (tensor.shape(), tensor.dtype());
    let data = tensor.into_data();
    assert_eq!(announced, (data.shape().clone(), data.dtype()));
    data.convert::<f32>().try_into_vec().unwrap()
}

/// Largest difference relative to the largest expected magnitude.
pub fn relative_error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(1e-12f32, |m, v| m.max(v.abs()));
    found.iter().zip(expected).fold(0.0, |m, (a, b)| {
        assert!(a.is_finite() && b.is_finite(), "{a} against {b}");
        f32::max(m, (a - b).abs() / scale)
    })
}
