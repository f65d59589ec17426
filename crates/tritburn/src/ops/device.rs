//! What is asked of a Burn device before work is sent to it.

use burn::backend::{Backend, DTypeUsage, Dispatch};
use burn::tensor::{DType, Device};
use tritburn_formats::PackedLayout;

#[cfg(feature = "cube")]
use super::fragments;
use crate::error::Error;
use crate::precision::InputPrecision;

/// The CubeCL device underneath, autodiff or not.
#[cfg(feature = "cube")]
pub(crate) fn cube(device: &Device) -> Option<&burn_cubecl::CubeDevice> {
    use burn::backend::DispatchDevice;

    fn inner(device: &DispatchDevice) -> Option<&burn_cubecl::CubeDevice> {
        match device {
            DispatchDevice::Cube(device) => Some(device),
            DispatchDevice::Autodiff(device) => inner(device),
            #[allow(unreachable_patterns)]
            _ => None,
        }
    }
    inner(device.as_dispatch())
}

/// Whether `device` runs the kernels of `tritburn-kernels`: every device but Flex.
#[cfg_attr(not(feature = "cube"), allow(unused_variables))]
pub(crate) fn runs_kernels(device: &Device) -> bool {
    #[cfg(feature = "cube")]
    {
        cube(device).is_some()
    }
    #[cfg(not(feature = "cube"))]
    false
}

/// Whether `device` is Burn's CPU backend, autodiff or not.
#[cfg_attr(not(feature = "flex"), allow(unused_variables))]
pub(crate) fn is_flex(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    {
        use burn::backend::DispatchDevice;

        fn inner(device: &DispatchDevice) -> bool {
            match device {
                DispatchDevice::Flex(_) => true,
                DispatchDevice::Autodiff(device) => inner(device),
                #[allow(unreachable_patterns)]
                _ => false,
            }
        }
        inner(device.as_dispatch())
    }
    #[cfg(not(feature = "flex"))]
    false
}

/// Whether `device` is an NVIDIA GPU that is driven through CUDA.
#[cfg_attr(not(feature = "cuda"), allow(unused_variables))]
pub(crate) fn is_cuda(device: &Device) -> bool {
    #[cfg(feature = "cuda")]
    {
        matches!(cube(device), Some(burn_cubecl::CubeDevice::Cuda(_)))
    }
    #[cfg(not(feature = "cuda"))]
    false
}

/// Refuses a CUDA device that lacks what it needs to compile kernels.
///
/// # Errors
/// [`Error::Cuda`].
pub(crate) fn check_ready(device: &Device) -> Result<(), Error> {
    #[cfg(feature = "cuda")]
    if is_cuda(device) {
        crate::cuda::check()?;
    }
    let _ = device;
    Ok(())
}

/// Whether `device` multiplies faster with prepacked weights of `layout`: NVIDIA GPUs of compute
/// capability 8.0 and up, and for int8 of 7.2 and 7.5, unless scales are per group or rows too long
/// for the accumulators of the tensor cores. False on every other device.
#[cfg_attr(not(feature = "cube"), allow(unused_variables))]
pub fn prefers_prepacked(
    device: &Device,
    layout: &PackedLayout,
    precision: InputPrecision,
) -> bool {
    #[cfg(feature = "cube")]
    if let Some(cube) = cube(device) {
        return check_ready(device).is_ok() && fragments::wanted(cube, layout, precision);
    }
    false
}

/// Whether `device` can put weights of `layout` in the order of tensor-core kernels.
#[cfg_attr(not(feature = "cube"), allow(unused_variables))]
pub(super) fn can_prepack(
    device: &Device,
    layout: &PackedLayout,
    precision: InputPrecision,
) -> bool {
    #[cfg(feature = "cube")]
    if cube(device).is_some() {
        return fragments::exist(layout, precision);
    }
    false
}

/// Whether kernels of `device` can write bf16: CubeCL's CPU runtime cannot everywhere.
#[cfg_attr(not(feature = "cpu"), allow(unused_variables))]
pub fn rounds_to_bf16(device: &Device) -> bool {
    #[cfg(feature = "cpu")]
    if matches!(cube(device), Some(burn_cubecl::CubeDevice::Cpu(_))) {
        return tritburn_kernels::device::cpu_rounds_to_bf16();
    }
    true
}

/// Whether operations of this crate can read `dtype` on `device`.
///
/// They compute in f32, so the device need only store the type and convert it: some Vulkan drivers do no more
/// with bf16, for which Burn's own [`Device::supports_dtype`] is false. Others, and WebGPU, have no bf16 at all.
pub fn keeps_dtype(device: &Device, dtype: DType) -> bool {
    let asked = || Dispatch::dtype_usage(device.as_dispatch(), dtype);
    // Every device has f32: nobody need be asked.
    dtype == DType::F32 || asked().contains(DTypeUsage::Storage)
}

/// Whether `device` replays captured work as one launch: CUDA and ROCm.
#[cfg_attr(not(feature = "cube"), allow(unused_variables))]
pub fn captures_graphs(device: &Device) -> bool {
    #[cfg(feature = "cube")]
    {
        use burn_cubecl::CubeDevice;
        matches!(cube(device), Some(CubeDevice::Cuda(_) | CubeDevice::Hip(_)))
    }
    #[cfg(not(feature = "cube"))]
    false
}
