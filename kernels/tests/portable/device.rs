//! The device that the tests run on.

use cubecl::Device;
use cubecl::client::Client;
use cubecl::ir::features::TypeUsage;
use tritburn_kernels::FloatType;
use tritburn_kernels::device::cpu_rounds_to_bf16;

/// The most capable runtime of this build.
pub fn client() -> Client {
    device().client()
}

#[cfg(feature = "cuda")]
fn device() -> Device {
    Device::Cuda(Default::default())
}

#[cfg(all(feature = "rocm", not(feature = "cuda")))]
fn device() -> Device {
    Device::Hip(Default::default())
}

#[cfg(all(
    any(feature = "wgpu", feature = "vulkan", feature = "metal"),
    not(any(feature = "cuda", feature = "rocm"))
))]
fn device() -> Device {
    Device::Wgpu(Default::default())
}

#[cfg(all(
    feature = "cpu",
    not(any(
        feature = "cuda",
        feature = "rocm",
        feature = "wgpu",
        feature = "vulkan",
        feature = "metal"
    ))
))]
fn device() -> Device {
    Device::Cpu(Default::default())
}

/// Whether float expressions run as they are written: GPU compilers may contract `a·b + c`.
pub fn rounds_every_operation(client: &Client) -> bool {
    client.properties().hardware.num_cpu_cores.is_some()
}

/// Whether the device runs kernels of `dtype`: WebGPU and some Vulkan drivers have no bf16, and CubeCL's
/// CPU runtime cannot round to it everywhere.
pub fn runs(dtype: FloatType) -> bool {
    let client = client();
    let properties = client.properties();
    let needed = TypeUsage::Buffer | TypeUsage::Conversion;
    let cpu = properties.hardware.num_cpu_cores.is_some();
    properties.type_usage(dtype.elem()).is_superset(needed)
        && (!cpu || dtype != FloatType::BF16 || cpu_rounds_to_bf16())
}

/// Those of `types` that the device runs kernels of.
pub fn supported<const N: usize>(types: [FloatType; N]) -> impl Iterator<Item = FloatType> {
    types.into_iter().filter(|&dtype| runs(dtype))
}
