//! Made-up devices for tests of plans.

use super::{CudaFacts, DeviceFacts};

/// A GPU of `capability` with `shared_bytes` of shared memory a cube.
const fn gpu(capability: u32, multiprocessors: u32, shared_bytes: usize) -> DeviceFacts {
    DeviceFacts {
        lockstep: true,
        cube_units: 256,
        max_units: 1024,
        shared_bytes,
        vector: 4,
        cuda: Some(CudaFacts {
            capability,
            multiprocessors,
        }),
    }
}

/// Jetson AGX Xavier.
pub(crate) const XAVIER: DeviceFacts = gpu(72, 8, 98_304);
/// T4.
pub(crate) const TURING: DeviceFacts = gpu(75, 40, 65_536);
/// A100.
pub(crate) const AMPERE: DeviceFacts = gpu(80, 108, 166_912);
/// RTX 30.
pub(crate) const GEFORCE: DeviceFacts = gpu(86, 82, 101_376);
/// Jetson AGX Orin.
pub(crate) const ORIN: DeviceFacts = gpu(87, 16, 166_912);
/// RTX 40.
pub(crate) const ADA: DeviceFacts = gpu(89, 128, 101_376);
/// H200.
pub(crate) const HOPPER: DeviceFacts = gpu(90, 132, 232_448);

/// Those of compute capability 8.0 and up.
pub(crate) const AMPERE_AND_LATER: [DeviceFacts; 5] = [AMPERE, GEFORCE, ORIN, ADA, HOPPER];
