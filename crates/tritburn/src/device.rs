//! Devices by name, for programs that let their users choose one.

pub mod memory;
mod rates;
#[cfg(feature = "vulkan")]
mod vulkan;

use std::panic::catch_unwind;

use burn::tensor::{Device, Tensor};
use thiserror::Error;

pub use rates::{TensorCoreRates, tensor_core_rates};

/// Every device name, and whether this build has it.
const DEVICES: [(&str, bool); 7] = [
    ("flex", cfg!(feature = "flex")),
    ("cpu", cfg!(feature = "cpu")),
    ("cuda", cfg!(feature = "cuda")),
    ("rocm", cfg!(feature = "rocm")),
    ("wgpu", cfg!(feature = "wgpu")),
    ("vulkan", cfg!(feature = "vulkan")),
    ("metal", cfg!(feature = "metal")),
];

/// The name used when none is given: the first device of this build.
pub fn default_name() -> &'static str {
    built().next().unwrap_or("flex")
}

/// The device called `name`, checked by running something on it.
///
/// # Examples
///
/// ```
/// use burn::tensor::Tensor;
/// use tritburn::device;
///
/// let device = device::open(device::default_name())?;
/// assert_eq!(Tensor::<1>::ones([3], &device).sum().into_scalar::<f32>(), 3.0);
/// assert!(device::open("abacus").unwrap_err().to_string().contains("unknown device"));
/// # Ok::<(), device::DeviceError>(())
/// ```
///
/// # Errors
/// [`DeviceError`], listing the devices of this build.
pub fn open(name: &str) -> Result<Device, DeviceError> {
    open_at(name, 0)
}

/// The device number `index`, from 0, of those called `name`, checked as [`open`] does. Only `cuda` and
/// `rocm` tell theirs apart; every other name stands for one device, whatever its number.
///
/// # Errors
/// [`DeviceError`], for a number that is not there as well.
pub fn open_at(name: &str, index: usize) -> Result<Device, DeviceError> {
    match DEVICES.iter().find(|(known, _)| *known == name) {
        None => Err(DeviceError::Unknown {
            name: name.into(),
            built: list(),
        }),
        Some((known, false)) => Err(DeviceError::NotBuilt {
            name: known,
            built: list(),
        }),
        Some((known, true)) => {
            // Burn panics more than once where CUDA is incomplete, and names no reason.
            #[cfg(feature = "cuda")]
            if *known == "cuda" {
                crate::cuda::check()?;
                keep_compiled_kernels();
            }
            // Drivers are loaded on first use, and a missing one is a panic there.
            let probe = catch_unwind(|| {
                let device = create(known, index);
                // A kernel that the driver cannot compile may end the process.
                #[cfg(feature = "vulkan")]
                if matches!(*known, "vulkan" | "wgpu") {
                    check_vulkan(known, &device)?;
                }
                Tensor::<1>::ones([1], &device).into_data();
                Ok(device)
            });
            probe.unwrap_or_else(|cause| {
                Err(DeviceError::Unavailable {
                    name: known,
                    reason: panic_message(cause.as_ref()),
                })
            })
        }
    }
}

/// The first `count` devices called `name`, for a model that trains on all of them.
///
/// Burn sums gradients over CUDA devices, with NCCL. One device needs neither.
///
/// # Errors
/// [`DeviceError`]: as [`open`]; for devices that Burn cannot join, for more than there are, and where
/// NCCL is missing.
pub fn open_all(name: &str, count: usize) -> Result<Vec<Device>, DeviceError> {
    let first = open(name)?;
    if count <= 1 {
        return Ok(vec![first]);
    }
    #[cfg(feature = "cuda")]
    if name == "cuda" {
        let available = crate::cuda::device_count();
        if count > available {
            return Err(DeviceError::TooFew {
                asked: count,
                available,
            });
        }
        crate::cuda::check_collectives()?;
        let rest = (1..count).map(Device::cuda);
        return Ok(std::iter::once(first).chain(rest).collect());
    }
    Err(DeviceError::Alone {
        name: name.into(),
        asked: count,
    })
}

/// What the part is called that `device` computes on, such as `NVIDIA H200`; `None` where its backend does
/// not say.
pub fn part_name(device: &Device) -> Option<String> {
    #[cfg(feature = "cube")]
    if crate::ops::runs_kernels(device) {
        return device.identity().map(|identity| identity.name);
    }
    let _ = device;
    None
}

/// Whether `device` compiles kernels when they are first launched: every device but Flex.
///
/// A program that is to be fast from its first step on runs one for practice.
pub fn compiles_kernels(device: &Device) -> bool {
    crate::ops::runs_kernels(device)
}

/// Whether Burn sums tensors over devices of the kind of `device` without the host between them: CUDA
/// devices, by NCCL.
pub fn has_collectives(device: &Device) -> bool {
    crate::ops::is_cuda(device)
}

/// Refuses a device whose Vulkan driver lacks what CubeCL's kernels need. Beside `vulkan`, `wgpu` runs
/// SPIR-V as well, wherever it finds a Vulkan driver.
#[cfg(feature = "vulkan")]
fn check_vulkan(name: &'static str, device: &Device) -> Result<(), DeviceError> {
    match part_name(device) {
        Some(part) if vulkan::lacks_layout_extension(&part) => Err(DeviceError::Extension {
            name,
            part,
            extension: vulkan::LAYOUT_EXTENSION,
        }),
        _ => Ok(()),
    }
}

/// Has CubeCL keep compiled kernels on disk, beside the results of its tuner.
///
/// A configuration that the program has set stays. CubeCL's files (`cubecl.toml`, `burn.toml`) and
/// variables decide all the rest.
#[cfg(feature = "cuda")]
fn keep_compiled_kernels() {
    use cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};

    let mut config = CubeClRuntimeConfig::from_current_dir().override_from_env();
    config.compilation.cache = true;
    CubeClRuntimeConfig::try_set(config);
}

#[cfg_attr(not(any(feature = "cuda", feature = "rocm")), allow(unused_variables))]
fn create(name: &str, index: usize) -> Device {
    match name {
        #[cfg(feature = "flex")]
        "flex" => Device::flex(),
        #[cfg(feature = "cpu")]
        "cpu" => Device::cpu(),
        #[cfg(feature = "cuda")]
        "cuda" => Device::cuda(index),
        #[cfg(feature = "rocm")]
        "rocm" => Device::rocm(index),
        #[cfg(feature = "wgpu")]
        "wgpu" => Device::wgpu(burn::tensor::DeviceKind::DefaultDevice),
        #[cfg(feature = "vulkan")]
        "vulkan" => Device::vulkan(burn::tensor::DeviceKind::DefaultDevice),
        #[cfg(feature = "metal")]
        "metal" => Device::metal(burn::tensor::DeviceKind::DefaultDevice),
        other => unreachable!("`{other}` is not in this build"),
    }
}

fn built() -> impl Iterator<Item = &'static str> {
    DEVICES
        .into_iter()
        .filter_map(|(name, built)| built.then_some(name))
}

fn list() -> String {
    let names: Vec<_> = built().collect();
    if names.is_empty() {
        "none".into()
    } else {
        names.join(", ")
    }
}

/// What a panic that was caught said: devices panic where they have no error to give.
pub fn panic_message(cause: &(dyn std::any::Any + Send)) -> String {
    let text = cause.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| cause.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it stopped without saying why".into())
}

/// A device that cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No device has this name.
    #[error("unknown device `{name}`; this build has: {built}")]
    Unknown {
        /// The name given.
        name: String,
        /// Devices of this build.
        built: String,
    },
    /// The device exists, in another build.
    #[error("this build has no device `{name}` (it has: {built}); build with `--features {name}`")]
    NotBuilt {
        /// The name given, which is also the name of the feature.
        name: &'static str,
        /// Devices of this build.
        built: String,
    },
    /// More devices were asked for than there are.
    #[error("{asked} CUDA devices were asked for, and this machine has {available}")]
    TooFew {
        /// Number asked for.
        asked: usize,
        /// Number that the driver lists.
        available: usize,
    },
    /// Devices of this name do not work together.
    #[error("{asked} devices `{name}` were asked for: Burn joins CUDA devices only")]
    Alone {
        /// The name given.
        name: String,
        /// Number asked for.
        asked: usize,
    },
    /// What CUDA needs is missing.
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    Cuda(#[from] crate::cuda::CudaSetupError),
    /// A Vulkan driver lacks an extension that kernels need.
    #[cfg(feature = "vulkan")]
    #[error(
        "device `{name}` cannot be used on {part}: its Vulkan driver lacks {extension}; a build with \
         `--features wgpu` and without `vulkan` runs there as device `wgpu`"
    )]
    Extension {
        /// The name given.
        name: &'static str,
        /// The name of the part.
        part: String,
        /// The name of the extension.
        extension: &'static str,
    },
    /// The device did not start.
    #[error("device `{name}` cannot be used on this machine: {reason}")]
    Unavailable {
        /// The name given.
        name: &'static str,
        /// What it said.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_refused_with_the_names_that_exist() {
        let error = open("gpu0").unwrap_err().to_string();
        assert!(
            error.contains("`gpu0`") && error.contains(&list()),
            "{error}"
        );
    }

    #[test]
    fn a_device_of_another_build_is_refused_with_the_feature_to_build() {
        let missing = DEVICES.iter().find(|(_, built)| !built);
        let (name, _) = missing.expect("no platform builds both Metal and ROCm");
        let error = open(name).unwrap_err().to_string();
        assert!(error.contains(&format!("--features {name}")), "{error}");
    }

    #[cfg(feature = "flex")]
    #[test]
    fn devices_that_burn_cannot_join_are_refused() {
        assert_eq!(open_all("flex", 1).unwrap(), [Device::flex()]);
        let error = open_all("flex", 3).unwrap_err().to_string();
        assert!(error.contains("3 devices `flex`"), "{error}");
    }

    #[cfg(feature = "flex")]
    #[test]
    fn flex_is_the_default_where_it_is_built_and_opens() {
        assert_eq!(default_name(), "flex");
        assert_eq!(open("flex").unwrap(), Device::flex());
    }
}
