//! Devices by name.

use std::fmt;

use anyhow::Result;
use burn::tensor::Device;
use clap::ValueEnum;

/// A Burn backend; which of them work is decided by the features of the build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    Flex,
    Cpu,
    Cuda,
    Wgpu,
    Vulkan,
    Metal,
    Rocm,
}

impl Name {
    /// The default device of the backend.
    pub fn open(self) -> Result<Device> {
        Ok(tritburn::device::open(&self.to_string())?)
    }

    /// Whether it is a graphics card.
    pub fn is_gpu(self) -> bool {
        !matches!(self, Self::Flex | Self::Cpu)
    }

    /// A CubeCL client of the same device, for kernels without Burn; `None` for Flex, which is not
    /// a CubeCL device. Open the device with [`open`](Self::open) first.
    #[cfg(feature = "cube")]
    pub fn client(self) -> Result<Option<cubecl::client::Client>> {
        use cubecl::Device;
        use cubecl::device::WgpuDeviceKind;
        let device = match self {
            Self::Flex => return Ok(None),
            Self::Cpu => Device::cpu(),
            Self::Cuda => Device::cuda(0),
            Self::Wgpu => Device::wgpu(WgpuDeviceKind::default()),
            Self::Vulkan => Device::vulkan(WgpuDeviceKind::default()),
            Self::Metal => Device::wgpu(WgpuDeviceKind::default()),
            Self::Rocm => Device::rocm(0),
        };
        Ok(Some(device?.client()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("?", |value| value.get_name()))
    }
}
