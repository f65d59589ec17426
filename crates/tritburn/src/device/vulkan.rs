//! What a Vulkan driver must have for CubeCL's kernels.

use ash::{Entry, Instance, vk};

/// The extension that gives shared memory a layout of its own.
///
/// Without it, CubeCL 0.11.3 declares shared memory as a pointer to a pointer, which SPIR-V does not
/// allow; a driver may then end the process instead of refusing the kernel (Mesa 22.3's llvmpipe does).
pub(super) const LAYOUT_EXTENSION: &str = "VK_KHR_workgroup_memory_explicit_layout";

/// Whether a device called `name` is known to lack [`LAYOUT_EXTENSION`]. No is also the answer where
/// the drivers cannot be asked.
pub(super) fn lacks_layout_extension(name: &str) -> bool {
    // SAFETY: this loads the system's Vulkan loader, which CubeCL has loaded before.
    let Ok(entry) = (unsafe { Entry::load() }) else {
        return false;
    };
    let info = vk::InstanceCreateInfo::default();
    // SAFETY: the info names no layers, extensions or other structures.
    let Ok(instance) = (unsafe { entry.create_instance(&info, None) }) else {
        return false;
    };
    let lacks = any_lacks(&instance, name);
    // SAFETY: nothing that was made of the instance is left.
    unsafe { instance.destroy_instance(None) };
    lacks
}

fn any_lacks(instance: &Instance, name: &str) -> bool {
    // SAFETY: the instance is alive.
    let devices = unsafe { instance.enumerate_physical_devices() };
    devices.unwrap_or_default().into_iter().any(|device| {
        // SAFETY: the device is one of this instance.
        let properties = unsafe { instance.get_physical_device_properties(device) };
        let is_called = properties.device_name_as_c_str();
        is_called.is_ok_and(|called| called.to_string_lossy() == name) && {
            // SAFETY: as before.
            let extensions = unsafe { instance.enumerate_device_extension_properties(device) };
            extensions.is_ok_and(|extensions| {
                let names = extensions
                    .iter()
                    .filter_map(|each| each.extension_name_as_c_str().ok());
                !names
                    .into_iter()
                    .any(|each| each.to_bytes() == LAYOUT_EXTENSION.as_bytes())
            })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_no_driver_has_lacks_nothing() {
        assert!(!lacks_layout_extension("no such device"));
    }
}
