//! What a Vulkan driver must have for CubeCL's kernels.

use ash::{Entry, Instance, vk};

/// The extension that gives shared memory a layout of its own.
///
/// Without it, CubeCL 0.11.3 declares shared memory as a pointer to a pointer, which SPIR-V does not
/// allow; a driver may then end the process instead of refusing the kernel (Mesa 22.3's llvmpipe does).
pub(super) const LAYOUT_EXTENSION: &str = "VK_KHR_workgroup_memory_explicit_layout";

/// Whether every device called `name` is known to lack [`LAYOUT_EXTENSION`]. No is also the answer where
/// there is no such device, or the drivers cannot be asked.
///
/// CubeCL asks for the feature of the extension. A driver that lists the extension and lacks the feature
/// is not known.
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
    let found = extensions(&instance, name);
    // SAFETY: nothing that was made of the instance is left.
    unsafe { instance.destroy_instance(None) };
    !found.is_empty() && found.iter().all(|listed| lacks(listed))
}

/// The extensions of each device called `name` that says which it has.
fn extensions(instance: &Instance, name: &str) -> Vec<Vec<vk::ExtensionProperties>> {
    // SAFETY: the instance is alive.
    let devices = unsafe { instance.enumerate_physical_devices() }.unwrap_or_default();
    let of_name = devices.into_iter().filter(|&device| {
        // SAFETY: the device is one of this instance.
        let properties = unsafe { instance.get_physical_device_properties(device) };
        let called = properties.device_name_as_c_str();
        called.is_ok_and(|called| called.to_string_lossy() == name)
    });
    let listed = of_name.filter_map(|device| {
        // SAFETY: the device is one of this instance.
        unsafe { instance.enumerate_device_extension_properties(device) }.ok()
    });
    listed.collect()
}

fn lacks(listed: &[vk::ExtensionProperties]) -> bool {
    let mut names = listed
        .iter()
        .filter_map(|each| each.extension_name_as_c_str().ok());
    !names.any(|each| each.to_bytes() == LAYOUT_EXTENSION.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extension(name: &str) -> vk::ExtensionProperties {
        let mut properties = vk::ExtensionProperties::default();
        for (to, from) in properties.extension_name.iter_mut().zip(name.bytes()) {
            *to = from as std::ffi::c_char;
        }
        properties
    }

    #[test]
    fn a_device_that_no_driver_has_lacks_nothing() {
        assert!(!lacks_layout_extension("no such device"));
    }

    #[test]
    fn the_extension_is_found_by_its_whole_name() {
        let other = extension("VK_KHR_workgroup_memory_explicit_layout_2");
        assert!(lacks(&[]) && lacks(&[other]));
        assert!(!lacks(&[other, extension(LAYOUT_EXTENSION)]));
    }
}
