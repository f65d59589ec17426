//! cuBLAS (bf16) and cuBLASLt (int8), in a process of their own.
//!
//! Weights rotate and calls are replayed from a CUDA graph, as for our kernels.

mod bf16;
mod int8;
mod process;

pub use process::{Process, serve};

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cudarc::driver::sys::{CUevent_flags, CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{CudaContext, CudaGraph, CudaSlice, CudaStream, DevicePtr, DeviceRepr};
use cudarc::{cublas, cublaslt};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::timing::{Method, Plan, Timing};

/// Scratch memory that the libraries may use; what PyTorch gives them on Hopper.
const WORKSPACE_BYTES: usize = 32 << 20;

/// Which product of a linear layer: `x` `[M, K]`, `W` `[N, K]`, `dY` `[M, N]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Product {
    /// `x · Wᵀ`.
    Forward,
    /// `dY · W`.
    Input,
    /// `dYᵀ · x`.
    Weight,
}

/// Both libraries with a stream.
struct Cublas {
    stream: Arc<CudaStream>,
    handle: cublas::sys::cublasHandle_t,
    lt: Option<cublaslt::sys::cublasLtHandle_t>,
    workspace: CudaSlice<u8>,
    plan: Plan,
    cold_bytes: usize,
}

impl Cublas {
    /// On the first device.
    ///
    /// # Errors
    /// If there is no driver, no cuBLAS, or no device.
    fn new(plan: Plan, cold_bytes: usize) -> Result<Self> {
        // SAFETY: only looks whether the libraries load; without this check cudarc panics.
        let (driver, blas, lt) = unsafe {
            (
                cudarc::driver::sys::is_culib_present(),
                cublas::sys::is_culib_present(),
                cublaslt::sys::is_culib_present(),
            )
        };
        ensure!(driver, "no CUDA driver library");
        ensure!(
            blas,
            "no cuBLAS library (libcublas.so) on the loader's path"
        );
        let context = CudaContext::new(0)?;
        // SAFETY: every buffer below is used on one stream only. Tracking events would be recorded
        // into the graphs.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream()?;
        let workspace = stream.alloc_zeros::<u8>(WORKSPACE_BYTES)?;
        let handle = cublas::result::create_handle()?;
        let this = Self {
            lt: lt.then(cublaslt::result::create_handle).transpose()?,
            stream,
            handle,
            workspace,
            plan,
            cold_bytes,
        };
        // SAFETY: handle, stream and workspace live as long as `this`. Without a workspace of its
        // own cuBLAS would allocate while a graph is recorded.
        unsafe {
            cublas::result::set_stream(this.handle, this.stream.cu_stream().cast())?;
            let workspace = this.pointer(&this.workspace) as *mut _;
            cublas::sys::cublasSetWorkspace_v2(this.handle, workspace, WORKSPACE_BYTES).result()?;
        }
        Ok(this)
    }

    /// Version of cuBLAS.
    fn version(&self) -> Option<String> {
        let mut version = 0;
        // SAFETY: the handle is valid, the version is written through the pointer.
        let status = unsafe { cublas::sys::cublasGetVersion_v2(self.handle, &mut version) };
        status.result().ok()?;
        let (major, minor, patch) = (version / 10_000, version / 100 % 100, version % 100);
        Some(format!("{major}.{minor}.{patch}"))
    }

    /// Address of a buffer that is used on this stream only.
    fn pointer<T>(&self, slice: &CudaSlice<T>) -> u64 {
        slice.device_ptr(&self.stream).0
    }

    /// As many copies of a random operand as are cold together.
    fn cold<T>(&self, len: usize, seed: u64) -> Result<Vec<CudaSlice<T>>>
    where
        T: DeviceRepr + Clone,
        Random: Fill<T>,
    {
        let count = self
            .cold_bytes
            .div_ceil(len * size_of::<T>())
            .clamp(1, 4096);
        let first = self.random(len, seed)?;
        let mut copies = vec![first];
        for _ in 1..count {
            copies.push(self.stream.clone_dtod(&copies[0])?);
        }
        Ok(copies)
    }

    /// Random elements: tensor cores run faster on zeros than on data.
    fn random<T>(&self, len: usize, seed: u64) -> Result<CudaSlice<T>>
    where
        T: DeviceRepr + Clone,
        Random: Fill<T>,
    {
        let mut random = Random(StdRng::seed_from_u64(seed));
        // A block that repeats: the host would need seconds for the largest operands.
        let block: Vec<T> = (0..len.min(1 << 20)).map(|_| random.next()).collect();
        let block = self.stream.clone_htod(&block)?;
        // SAFETY: the loop below writes every element before anything reads them.
        let mut all = unsafe { self.stream.alloc::<T>(len) }?;
        for start in (0..len).step_by(block.len()) {
            let end = len.min(start + block.len());
            let part = block.slice(..end - start);
            let mut to = all.slice_mut(start..end);
            self.stream.memcpy_dtod(&part, &mut to)?;
        }
        Ok(all)
    }

    /// Times `call(i)`, which launches on the stream with copy `i` of `copies`.
    fn time(&self, copies: usize, call: impl Fn(usize) -> Result<()>) -> Result<Timing> {
        let trial = self.replays(&self.record(2, copies, &call)?)?;
        let once = trial.as_secs_f64() / 2.0;
        let wanted = self.plan.sample_time().as_secs_f64() / 2.0 / once.max(1e-9);
        let rounds = (wanted / copies as f64).ceil().max(1.0) as usize;
        let calls = copies * rounds.min((4096 / copies).max(1));
        let graph = self.record(calls, copies, &call)?;
        let whole = self.plan.batches(1, Method::Graph, |count| {
            self.measure(|| (0..count).try_for_each(|_| Ok(graph.launch()?)))
        })?;
        Ok(Plan::per_call(whole, calls))
    }

    fn replays(&self, graph: &CudaGraph) -> Result<Duration> {
        graph.launch()?;
        self.measure(|| Ok(graph.launch()?))
    }

    /// Device time of what `work` launches on the stream.
    fn measure(&self, work: impl FnOnce() -> Result<()>) -> Result<Duration> {
        let context = self.stream.context();
        let event = || context.new_event(Some(CUevent_flags::CU_EVENT_DEFAULT));
        let (start, end) = (event()?, event()?);
        start.record(&self.stream)?;
        work()?;
        end.record(&self.stream)?;
        Ok(Duration::from_secs_f64(
            start.elapsed_ms(&end)? as f64 * 1e-3,
        ))
    }

    fn record(
        &self,
        calls: usize,
        copies: usize,
        call: impl Fn(usize) -> Result<()>,
    ) -> Result<CudaGraph> {
        call(0)?;
        self.stream.synchronize()?;
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        self.stream.begin_capture(mode)?;
        let recorded = (0..calls).try_for_each(|i| call(i % copies));
        // Ends the capture whatever happened before.
        let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        let graph = self.stream.end_capture(flags);
        recorded?;
        let graph = graph?.context("nothing was recorded")?;
        graph.upload()?;
        Ok(graph)
    }
}

impl Drop for Cublas {
    fn drop(&mut self) {
        // SAFETY: the handles were made in `new` and are destroyed once; a failure here leaves
        // nothing to be done.
        unsafe {
            let _ = cublas::result::destroy_handle(self.handle);
            if let Some(lt) = self.lt {
                let _ = cublaslt::result::destroy_handle(lt);
            }
        }
    }
}

/// A source of random elements.
struct Random(StdRng);

/// Random elements of one type.
trait Fill<T> {
    fn next(&mut self) -> T;
}

/// The bits of a bf16 in `-1..1`.
impl Fill<u16> for Random {
    fn next(&mut self) -> u16 {
        half::bf16::from_f32(self.0.random_range(-1.0f32..1.0)).to_bits()
    }
}

impl Fill<i8> for Random {
    fn next(&mut self) -> i8 {
        self.0.random_range(-127..=127)
    }
}
