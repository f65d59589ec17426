//! Devices and problems that plans are tested for.

use tritburn_formats::WeightCode;

use crate::device::{CudaFacts, DeviceFacts};
use crate::device_code::decode::ScaleKind;
use crate::product::{ActivationType, MatmulProblem};

/// A product of ternary weights with int8 activations.
pub(crate) const fn problem(m: usize, n: usize, k: usize) -> MatmulProblem {
    MatmulProblem {
        m,
        n,
        k,
        code: WeightCode::Ternary,
        scale: ScaleKind::Row,
        activations: ActivationType::Int8,
        fragments: None,
        whole_lines: true,
    }
}

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

/// All of them.
pub(crate) const GPUS: [DeviceFacts; 5] = [AMPERE, GEFORCE, ORIN, ADA, HOPPER];
