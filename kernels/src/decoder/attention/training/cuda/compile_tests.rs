//! Compiles the kernels of every plan to CUDA C++, which needs no GPU.

use std::sync::Arc;

use cubecl::Compiler;
use cubecl::ir::features::Features;
use cubecl::ir::settings::KernelSettings;
use cubecl::ir::{
    DeviceIdentity, DeviceProperties, HardwareProperties, MemoryDeviceProperties, TargetProperties,
};
use cubecl::prelude::*;
use cubecl_cpp::ComputeKernel;
use cubecl_cpp::shared::{CompilationOptions, CppCompiler, CppSupportedFeatures};
use cubecl_cpp::target::Cuda;
use rstest::rstest;

use super::base::{FlashPlan, FlashPlans, STAGES};
use super::forward::flash_forward::FlashForward;
use super::gradient_key::flash_key_gradient::FlashKeyGradient;
use super::gradient_query::flash_query_gradient::FlashQueryGradient;
use super::tile::FlashExtentsCompilationArg;
use crate::operand::FloatType;

/// What a launch passes to the compiler, for a made-up device.
fn parts(plan: FlashPlan) -> (KernelSettings, Arc<DeviceProperties>, Arc<TargetProperties>) {
    let cube = CubeDim::new_1d(plan.units() as u32);
    let settings = KernelSettings::new(cube.into(), ExecutionMode::Unchecked, AddressType::U32);
    let hardware = HardwareProperties {
        load_width: 128,
        vector_register_count: None,
        plane_size_min: 32,
        plane_size_max: 32,
        max_bindings: 64,
        max_shared_memory_size: 232_448,
        max_cube_count: (i32::MAX as u32, 65_535, 65_535),
        max_units_per_cube: 1024,
        max_cube_dim: (1024, 1024, 64),
        num_streaming_multiprocessors: Some(132),
        num_cpu_cores: None,
        last_level_cache_size: None,
        num_tensor_cores: Some(4),
        min_tensor_cores_dim: Some(8),
        max_vector_size: 16,
        cube_mma_reserved_shared_memory: 0,
    };
    let device = DeviceProperties::new(
        Features::default(),
        MemoryDeviceProperties::new(1 << 30, 512),
        hardware,
        cubecl::profile::TimingMethod::Device,
        DeviceIdentity {
            name: "made up".into(),
            fingerprint: "ptx_sm90".into(),
            physical: None,
        },
    );
    let target = TargetProperties {
        mma: Default::default(),
    };
    (settings, Arc::new(device), Arc::new(target))
}

fn compile(kernel: &impl CubeKernel, name: &str) -> ComputeKernel {
    let definition = cubecl::define_kernel(kernel).unwrap();
    let options = CompilationOptions {
        supports_features: CppSupportedFeatures {
            grid_constants: true,
            clusters: true,
            ..Default::default()
        },
        ..Default::default()
    };
    let compiled = CppCompiler::<Cuda>::default().compile(definition, &options);
    let kernel = compiled.unwrap();
    if let Ok(folder) = std::env::var("TRITBURN_DUMP") {
        std::fs::write(format!("{folder}/{name}.cu"), &kernel.source).unwrap();
    }
    kernel
}

#[rstest]
fn every_plan_compiles_and_shares_what_it_says(
    #[values(FloatType::F16, FloatType::BF16)] dtype: FloatType,
    #[values(32, 64, 128)] dim: usize,
) {
    let plans = FlashPlans::new(dim, dtype).unwrap();
    let buffer = || BufferCompilationArg { inplace: None };
    let extents = || FlashExtentsCompilationArg {
        batch: (),
        length: (),
        heads: (),
        kv_heads: (),
        qkv_stride: (),
        out_stride: (),
        d_out_stride: (),
        d_qkv_stride: (),
        section: (),
        scale: (),
    };
    let plan = plans.forward;
    let (settings, device, target) = parts(plan);
    let kernel = FlashForward::new(
        settings,
        device,
        target,
        buffer(),
        buffer(),
        buffer(),
        extents(),
        plan,
    );
    let found = compile(&kernel, &format!("forward_{dim}_{dtype}"));
    assert_eq!(found.shared_memory_size, STAGES * plan.stage_bytes(0));

    let plan = plans.query;
    let (settings, device, target) = parts(plan);
    let kernel = FlashQueryGradient::new(
        settings,
        device,
        target,
        buffer(),
        buffer(),
        buffer(),
        buffer(),
        buffer(),
        buffer(),
        extents(),
        plan,
    );
    let found = compile(&kernel, &format!("query_{dim}_{dtype}"));
    assert_eq!(found.shared_memory_size, STAGES * plan.stage_bytes(0));

    let plan = plans.key;
    let (settings, device, target) = parts(plan);
    let kernel = FlashKeyGradient::new(
        settings,
        device,
        target,
        buffer(),
        buffer(),
        buffer(),
        buffer(),
        extents(),
        plan,
    );
    let found = compile(&kernel, &format!("key_{dim}_{dtype}"));
    let expected = plan.own_bytes() + STAGES * plan.stage_bytes(8);
    assert_eq!(found.shared_memory_size, expected);
}
