//! The facts of a device that plans depend on, and the sizes of a launch.

use core::ffi::CStr;
use std::sync::OnceLock;

use cubecl::ir::OpaqueType;
use cubecl::ir::features::Features;
use cubecl::prelude::*;

use crate::error::KernelError;

#[cfg(test)]
pub(crate) mod test_gpus;

/// Units of a cube on a GPU, for kernels that need no particular number.
const GPU_CUBE: u32 = 256;

/// Units that reduce together on a GPU: a plane.
pub(crate) const LANES: u32 = 32;

/// The facts of a device that plans depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceFacts {
    /// Whether units run in lockstep planes (GPU). Otherwise they are CPU threads, for which a barrier
    /// costs more than the reduction it serves.
    pub lockstep: bool,
    /// Units of one cube, a power of two on a GPU.
    pub cube_units: u32,
    /// Most units that a cube may have. On a CPU, more threads than cores are allowed, but barriers
    /// between them are slow.
    pub max_units: u32,
    /// Bytes of memory that the units of a cube share.
    pub shared_bytes: usize,
    /// f32 elements of a unit's vector registers.
    pub vector: usize,
    /// Present if kernels with inline PTX and int8 tensor cores can run.
    pub cuda: Option<CudaFacts>,
}

/// The facts of a CUDA device with tensor cores for int8, compute capability 7.2 and up, whose
/// kernels are compiled by NVRTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CudaFacts {
    /// Compute capability times ten: 72 is Xavier, 75 Turing, 80 Ampere, 87 Orin, 90 Hopper.
    pub capability: u32,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
}

impl CudaFacts {
    fn of(client: &Client) -> Option<Self> {
        let properties = client.properties();
        let (identity, features) = (&properties.identity, &properties.features);
        let capability = identity.fingerprint.strip_prefix("ptx_sm")?.parse().ok()?;
        // CubeCL can compile for CUDA through LLVM, without inline PTX. That compiler does not list
        // barriers.
        let inline_ptx = features.types.opaque.contains(&OpaqueType::Barrier);
        // The GTX 16 series reports 7.5 without tensor cores.
        let mut products = features.matmul.cmma.iter();
        let int8 = products.any(|product| product.a_type == i8::elem_type_native());
        let cores = capability >= 80 || (capability >= 72 && int8);
        Some(Self {
            capability,
            multiprocessors: properties.hardware.num_streaming_multiprocessors?,
        })
        .filter(|_| inline_ptx && cores)
    }

    /// Whether the device has what Ampere introduced: asynchronous copies, `mma.m16n8k32` of int8,
    /// tensor cores for bf16.
    pub const fn is_ampere(&self) -> bool {
        self.capability >= 80
    }
}

/// Whether CubeCL's CPU runtime can round to bf16. On processors without an instruction for it, LLVM
/// calls `__truncsfbf2`, which libgcc has from GCC 13 on.
pub fn cpu_rounds_to_bf16() -> bool {
    static ROUNDS: OnceLock<bool> = OnceLock::new();
    *ROUNDS.get_or_init(|| has_bf16_instructions() || has_symbol(c"__truncsfbf2"))
}

fn has_bf16_instructions() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512bf16");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("bf16");
    #[allow(unreachable_code)]
    false
}

/// Whether the dynamic linker finds `name`, as the runtime's compiler does.
#[cfg(all(target_os = "linux", not(target_env = "musl")))]
fn has_symbol(name: &CStr) -> bool {
    use core::ffi::{c_char, c_void};

    unsafe extern "C" {
        fn dlsym(handle: *mut c_void, symbol: *const c_char) -> *mut c_void;
    }
    // SAFETY: a null handle is RTLD_DEFAULT, the libraries of the process; the name ends in a zero byte.
    !unsafe { dlsym(core::ptr::null_mut(), name.as_ptr()) }.is_null()
}

#[cfg(not(all(target_os = "linux", not(target_env = "musl"))))]
fn has_symbol(_name: &CStr) -> bool {
    false
}

impl DeviceFacts {
    /// Reads the facts from `client`.
    pub fn of(client: &Client) -> Self {
        let hardware = &client.properties().hardware;
        let lockstep = hardware.num_cpu_cores.is_none() && hardware.max_units_per_cube >= LANES;
        let limit = hardware.max_units_per_cube.max(1);
        if lockstep {
            Self {
                lockstep,
                cube_units: GPU_CUBE.min(1 << limit.ilog2()),
                max_units: limit,
                shared_bytes: hardware.max_shared_memory_size,
                vector: 4,
                cuda: CudaFacts::of(client),
            }
        } else {
            Self {
                lockstep,
                cube_units: hardware.num_cpu_cores.unwrap_or(1).clamp(1, limit),
                max_units: u32::MAX,
                shared_bytes: hardware.max_shared_memory_size,
                vector: 16,
                cuda: None,
            }
        }
    }

    /// The facts of a CUDA device of compute capability 8.0 and up.
    pub(crate) fn ampere(&self) -> Option<CudaFacts> {
        self.cuda.filter(CudaFacts::is_ampere)
    }

    /// Units that reduce together: [`LANES`] in lockstep, else 1.
    pub(crate) fn lanes(&self) -> usize {
        if self.lockstep { LANES as usize } else { 1 }
    }

    pub(crate) fn cube_dim(&self) -> CubeDim {
        CubeDim::new_1d(self.cube_units)
    }
}

/// The grid for `items` work items, `per_cube` a cube. Devices with a limited grid dimension get some more
/// cubes, whose items are past the end.
///
/// # Errors
/// [`KernelError::GridTooLarge`] past `i32::MAX` cubes.
pub(crate) fn cubes(
    client: &Client,
    items: usize,
    per_cube: usize,
) -> Result<CubeCount, KernelError> {
    let count = cube_count(items, per_cube)?;
    Ok(cubecl::calculate_cube_count_elemwise(
        client,
        count,
        CubeDim::new_1d(1),
    ))
}

fn cube_count(items: usize, per_cube: usize) -> Result<usize, KernelError> {
    let count = items.div_ceil(per_cube);
    let max = i32::MAX as usize;
    match count <= max {
        true => Ok(count),
        false => Err(KernelError::GridTooLarge {
            items,
            max: max.saturating_mul(per_cube),
        }),
    }
}

/// The index width that the largest of `extents` (numbers of elements) needs.
///
/// # Errors
/// [`KernelError::AddressWidth`] where 64-bit indices are needed and missing.
pub(crate) fn address(client: &Client, extents: &[usize]) -> Result<AddressType, KernelError> {
    let elements = extents.iter().copied().max().unwrap_or(0);
    let (features, identity) = (client.features(), &client.properties().identity);
    index_width(elements, features, &identity.name)
}

fn index_width(
    elements: usize,
    features: &Features,
    device: &str,
) -> Result<AddressType, KernelError> {
    // Indices may run past the end before they are checked, by less than the extent.
    let address = AddressType::from_len_signed(elements.saturating_mul(2));
    match features.supports_address(address) {
        true => Ok(address),
        false => Err(KernelError::AddressWidth {
            elements,
            device: device.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_cubes_than_an_i32_counts_are_refused() {
        let max = i32::MAX as usize;
        assert_eq!(cube_count(2 * max, 2), Ok(max));
        let error = KernelError::GridTooLarge {
            items: 2 * max + 1,
            max: 2 * max,
        };
        assert_eq!(cube_count(2 * max + 1, 2), Err(error));
    }

    #[test]
    fn buffers_past_32_bit_indices_are_refused_where_there_are_no_wider_ones() {
        let mut features = Features::default();
        features.types.address.insert(AddressType::U32);
        let narrow = |elements| index_width(elements, &features, "small");
        assert_eq!(narrow(1 << 29), Ok(AddressType::U32));
        let error = KernelError::AddressWidth {
            elements: 1 << 31,
            device: "small".into(),
        };
        assert_eq!(narrow(1 << 31), Err(error));

        features.types.address.insert(AddressType::U64);
        assert_eq!(
            index_width(1 << 31, &features, "large"),
            Ok(AddressType::U64)
        );
    }
}
