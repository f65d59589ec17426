//! A CUDA device that does not exist: its launches compile kernels to CUDA source and run nothing.

use std::sync::{Arc, Mutex};

use cubecl::client::Client;
use cubecl::cmma::MatrixLayout;
use cubecl::define_kernel;
use cubecl::ir::features::{Plane, Tma};
use cubecl::ir::{
    ContiguousElements, DeviceIdentity, DeviceProperties, ElemType, FloatKind, HardwareProperties,
    MemoryDeviceProperties, MmaProperties, OpaqueType, TargetProperties, VectorSize,
};
use cubecl::prelude::*;
use cubecl_common::bytes::Bytes;
use cubecl_common::device::{DeviceId, DeviceService, ServerUtilitiesHandle, ServiceId};
use cubecl_common::profile::{ProfileDuration, TimingMethod};
use cubecl_cpp::cuda::arch::CudaArchitecture;
use cubecl_cpp::cuda::mma::CudaCmmaCompiler;
use cubecl_cpp::cuda::mma::manual::contiguous_elements_cuda;
use cubecl_cpp::shared::{
    CompilationOptions, CppCompiler, CppSupportedFeatures, register_mma_features,
    register_wmma_features,
};
use cubecl_cpp::target::Cuda;
use cubecl_cpp::{cuda, register_supported_types};
use cubecl_environment::future::DynFut;
use cubecl_environment::stream::StreamId;
use cubecl_server::allocator::ContiguousMemoryLayoutPolicy;
use cubecl_server::compiler::Compiler;
use cubecl_server::dry_run::LaunchMode;
use cubecl_server::logging::ServerLogger;
use cubecl_server::memory_management::{
    ManagedMemoryHandle, MemoryAllocationMode, StreamMemoryReport,
};
use cubecl_server::server::{
    BufferBinding, CopyDescriptor, IoError, KernelArguments, ProfileError, ProfilingToken, Server,
    ServerCommunication, ServerError, ServerStorage, ServerUtilities,
};
use cubecl_server::storage::{ComputeStorage, ManagedResource, StorageHandle, StorageId};

/// A compiled kernel: what it is compiled for, and its CUDA source.
#[derive(Clone, Debug)]
pub struct Source {
    pub kernel: String,
    pub text: String,
}

/// A device of compute capability `capability` with the limits of a typical GPU of that kind.
#[derive(Clone, Copy, Debug)]
pub struct Gpu {
    pub capability: u32,
    pub multiprocessors: u32,
    pub shared_bytes: usize,
}

/// A device that compiles.
pub struct Device {
    pub gpu: Gpu,
    client: Client,
    sources: Arc<Mutex<Vec<Source>>>,
}

impl Device {
    /// A device like `gpu`, number `index` of this process.
    pub fn new(gpu: Gpu, index: u16) -> Self {
        let id = DeviceId {
            type_id: 0,
            index_id: index,
        };
        let sources = Arc::default();
        let client = Client::init(id, Compiling::new(gpu, id, Arc::clone(&sources)));
        Self {
            gpu,
            client,
            sources,
        }
    }

    /// What the kernels compile to that `launches` starts, in order.
    pub fn compile(&self, launches: impl FnOnce(&Client)) -> Vec<Source> {
        launches(&self.client);
        // Blocks until the device's thread has taken all launches.
        self.client.flush().expect("nothing that fails");
        core::mem::take(&mut self.sources.lock().expect("no panic"))
    }
}

#[derive(Debug)]
struct Compiling {
    options: CompilationOptions,
    utilities: Arc<ServerUtilities>,
    sources: Arc<Mutex<Vec<Source>>>,
}

impl Compiling {
    fn new(gpu: Gpu, id: DeviceId, sources: Arc<Mutex<Vec<Source>>>) -> Self {
        let version = gpu.capability;
        let arch = CudaArchitecture {
            version,
            tensor_cores: true,
        };
        let hardware = HardwareProperties {
            load_width: 128,
            vector_register_count: None,
            plane_size_min: 32,
            plane_size_max: 32,
            max_bindings: 1024,
            max_shared_memory_size: gpu.shared_bytes,
            max_cube_count: (i32::MAX as u32, 65_535, 65_535),
            max_units_per_cube: 1024,
            max_cube_dim: (1024, 1024, 64),
            num_streaming_multiprocessors: Some(gpu.multiprocessors),
            num_tensor_cores: Some(4),
            min_tensor_cores_dim: Some(8),
            num_cpu_cores: None,
            last_level_cache_size: None,
            max_vector_size: VectorSize::MAX,
            cube_mma_reserved_shared_memory: 0,
        };
        let mut properties = DeviceProperties::new(
            Default::default(),
            MemoryDeviceProperties::new(1 << 34, 512),
            hardware,
            TimingMethod::Device,
            DeviceIdentity {
                name: format!("made-up sm_{version}"),
                fingerprint: format!("ptx_sm{version}"),
                physical: None,
            },
        );
        register_supported_types(&mut properties);
        properties.register_opaque_type(OpaqueType::Barrier);
        for feature in [Plane::Sync, Plane::Ops, Plane::NonUniformControlFlow] {
            properties.features.plane.insert(feature);
        }
        for kind in [FloatKind::F16, FloatKind::BF16] {
            properties
                .features
                .matmul
                .ldmatrix
                .insert(ElemType::Float(kind));
        }
        properties.features.copy_async = version >= 80;
        if version >= 90 {
            properties.features.tma.insert(Tma::Base);
            properties.register_opaque_type(OpaqueType::TensorMap);
            properties.features.cube_cluster = true;
        }
        properties.features.memory_reinterpret = true;
        properties.features.alignment = true;
        properties.features.device_memory_scope = true;
        let wmma = CudaCmmaCompiler::Cpp.supported_cmma_combinations(&arch);
        register_wmma_features(wmma, &mut properties);
        register_mma_features(cuda::supported_mma_combinations(&arch), &mut properties);

        let options = CompilationOptions {
            warp_size: 32,
            supports_features: CppSupportedFeatures {
                grid_constants: true,
                clusters: version >= 90,
                fast_math: true,
                fast_tanh: true,
                elect_sync: version >= 90,
                dp4a: true,
            },
            ..Default::default()
        };
        let target = TargetProperties {
            mma: MmaProperties {
                register_size_bits: 32,
                const_plane_size: 32,
                register_layout_a: MatrixLayout::RowMajor,
                register_layout_b: MatrixLayout::ColMajor,
                register_layout_acc: MatrixLayout::RowMajor,
                register_duplication_a: 1,
                register_duplication_b: 1,
                register_duplication_acc: 1,
                contiguous_elements: ContiguousElements::new(contiguous_elements_cuda),
            },
        };
        let (utilities, _) = ServerUtilities::init(
            ServiceId::of::<Self>(id),
            "compiling",
            properties,
            target,
            Arc::new(ServerLogger::default()),
            ContiguousMemoryLayoutPolicy::new(512),
        );
        Self {
            options,
            utilities: Arc::new(utilities),
            sources,
        }
    }
}

impl DeviceService for Compiling {
    fn init(_: DeviceId) -> Self {
        unreachable!("every device is made up by `client`")
    }

    fn utilities(&self) -> ServerUtilitiesHandle {
        self.utilities.clone()
    }
}

impl ServerCommunication for Compiling {}

impl Server for Compiling {
    fn initialize_memory(
        &mut self,
        _: ManagedMemoryHandle,
        _: u64,
        _: StreamId,
    ) -> Result<(), ServerError> {
        Ok(())
    }

    fn logger(&self) -> Arc<ServerLogger> {
        self.utilities.logger.clone()
    }

    fn utilities(&self) -> Arc<ServerUtilities> {
        self.utilities.clone()
    }

    fn read(
        &mut self,
        _: Vec<CopyDescriptor>,
        _: StreamId,
    ) -> DynFut<Result<Vec<Bytes>, ServerError>> {
        unreachable!("nothing runs, so there is nothing to read")
    }

    fn write(&mut self, _: Vec<(CopyDescriptor, Bytes)>, _: StreamId) {}

    fn sync(&mut self, _: Vec<BufferBinding>, _: StreamId) -> DynFut<Result<(), ServerError>> {
        Box::pin(async { Ok(()) })
    }

    fn check(&mut self, _: Vec<BufferBinding>, _: StreamId) -> Result<(), ServerError> {
        Ok(())
    }

    unsafe fn launch(
        &mut self,
        kernel: Box<dyn CubeKernel>,
        _: CubeCount,
        _: KernelArguments,
        _: StreamId,
        _: LaunchMode,
    ) {
        let name = kernel.name().to_string();
        let text = match define_kernel(&*kernel) {
            Ok(definition) => {
                let mut compiler = CppCompiler::<Cuda>::default();
                match compiler.compile(definition, &self.options) {
                    Ok(compiled) => compiled.source,
                    Err(error) => format!("{error:?}"),
                }
            }
            Err(error) => format!("{error:?}"),
        };
        let source = Source { kernel: name, text };
        self.sources.lock().expect("no panic").push(source);
    }

    fn flush(&mut self, _: StreamId) -> Result<(), ServerError> {
        Ok(())
    }

    fn memory_report(&mut self, _: StreamId) -> Option<StreamMemoryReport> {
        None
    }

    fn memory_cleanup(&mut self, _: StreamId) -> Result<(), ServerError> {
        Ok(())
    }

    fn start_profile(&mut self, _: StreamId) -> Result<ProfilingToken, ServerError> {
        unreachable!("nothing runs, so there is nothing to time")
    }

    fn end_profile(
        &mut self,
        _: StreamId,
        _: ProfilingToken,
    ) -> Result<ProfileDuration, ProfileError> {
        unreachable!("nothing runs, so there is nothing to time")
    }

    fn allocation_mode(&mut self, _: MemoryAllocationMode, _: StreamId) {}
}

impl ServerStorage for Compiling {
    type Storage = NoStorage;

    fn get_resource(
        &mut self,
        _: BufferBinding,
        _: StreamId,
    ) -> Result<ManagedResource<()>, ServerError> {
        unreachable!("no buffer has memory")
    }
}

/// Memory of no device.
struct NoStorage;

impl ComputeStorage for NoStorage {
    type Resource = ();

    fn alignment(&self) -> usize {
        512
    }

    fn get(&mut self, _: &StorageHandle) -> Result<(), IoError> {
        Ok(())
    }

    fn alloc(&mut self, _: u64) -> Result<StorageHandle, IoError> {
        unreachable!("no buffer has memory")
    }

    fn dealloc(&mut self, _: StorageId) {}

    fn flush(&mut self) {}

    fn bytes_allocated(&self) -> u64 {
        0
    }
}
