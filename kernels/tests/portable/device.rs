//! The device that the tests run on.

use cubecl::Device;
use cubecl::client::Client;

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
