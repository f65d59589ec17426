//! What CUDA needs at run time: the driver, the run-time compiler NVRTC and the toolkit's headers.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use thiserror::Error;

/// Something that CUDA kernels need and that is not installed, or not found.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CudaSetupError {
    /// The driver's library cannot be loaded.
    #[error("no CUDA driver (libcuda): install NVIDIA's driver, nvidia-smi then lists the GPU")]
    Driver,
    /// The driver runs no GPU.
    #[error("the CUDA driver runs no GPU ({reason}): check nvidia-smi and CUDA_VISIBLE_DEVICES")]
    Device {
        /// What the driver said.
        reason: String,
    },
    /// The run-time compiler cannot be loaded.
    #[error(
        "no CUDA run-time compiler (libnvrtc): install the CUDA toolkit, 12.0 or newer \
         (https://developer.nvidia.com/cuda-downloads), and add its library folder to \
         LD_LIBRARY_PATH (PATH on Windows)"
    )]
    Compiler,
    /// No toolkit was found, and `CUDA_PATH` is not set.
    #[error(
        "no CUDA toolkit in /usr/local/cuda or /opt/cuda: install it, 12.0 or newer \
         (https://developer.nvidia.com/cuda-downloads), or set CUDA_PATH to its folder"
    )]
    Toolkit,
    /// The toolkit's folder lacks a header that kernels include.
    #[error(
        "{} does not exist: CUDA_PATH must be the folder of a CUDA toolkit with its headers \
         (packages cuda-cudart-dev and cuda-crt)",
        path.display()
    )]
    Header {
        /// The file that was looked for.
        path: PathBuf,
    },
    /// The library that sums gradients over several GPUs cannot be loaded.
    #[error(
        "no NCCL (libnccl.so): install it (packages libnccl2 and libnccl-dev, or PyTorch's wheel \
         nvidia-nccl-cu12 with a link libnccl.so beside its libnccl.so.2) and add its folder to \
         LD_LIBRARY_PATH"
    )]
    Collectives,
}

/// Headers that kernels with half-precision floats and tensor cores include.
const HEADERS: [&str; 3] = ["cuda_fp16.h", "cuda_bf16.h", "mma.h"];

/// Whether kernels can be compiled and run. Looked up once; layers and operations ask before they
/// use a CUDA device.
///
/// Burn's own CUDA operations do not ask, and panic where something is missing: a program that wants
/// a message instead calls this first.
///
/// # Errors
/// [`CudaSetupError`], saying what to install.
pub fn check() -> Result<(), CudaSetupError> {
    static CHECKED: OnceLock<Result<(), CudaSetupError>> = OnceLock::new();
    CHECKED.get_or_init(look).clone()
}

fn look() -> Result<(), CudaSetupError> {
    // SAFETY: loads NVIDIA's library and unloads it again; its initialisers have no preconditions.
    if !unsafe { cudarc::driver::sys::is_culib_present() } {
        return Err(CudaSetupError::Driver);
    }
    let count =
        cudarc::driver::result::init().and_then(|()| cudarc::driver::result::device::get_count());
    let reason = match count {
        Ok(0) => Some("no device".to_string()),
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    };
    if let Some(reason) = reason {
        return Err(CudaSetupError::Device { reason });
    }
    // SAFETY: as above.
    if !unsafe { cudarc::nvrtc::sys::is_culib_present() } {
        return Err(CudaSetupError::Compiler);
    }
    toolkit()
}

/// Whether several GPUs can train one model: NCCL sums their gradients.
///
/// # Errors
/// [`CudaSetupError::Collectives`] where it is missing.
pub fn check_collectives() -> Result<(), CudaSetupError> {
    // SAFETY: as in `look`; CubeCL loads the same library when it opens a device.
    match unsafe { cudarc::nccl::sys::is_culib_present() } {
        true => Ok(()),
        false => Err(CudaSetupError::Collectives),
    }
}

/// Number of GPUs that the driver runs; 0 without a driver.
pub fn device_count() -> usize {
    match check() {
        Ok(()) => cudarc::driver::result::device::get_count().map_or(0, |count| count as usize),
        Err(_) => 0,
    }
}

/// The headers of the toolkit that CubeCL compiles with.
fn toolkit() -> Result<(), CudaSetupError> {
    headers(cubecl_cuda::install::cuda_path().as_deref())
}

fn headers(toolkit: Option<&Path>) -> Result<(), CudaSetupError> {
    let include = toolkit.ok_or(CudaSetupError::Toolkit)?.join("include");
    match HEADERS
        .map(|header| include.join(header))
        .into_iter()
        .find(|path| !path.exists())
    {
        Some(path) => Err(CudaSetupError::Header { path }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_toolkit_without_headers_is_named() {
        assert_eq!(headers(None), Err(CudaSetupError::Toolkit));
        let folder = tempfile::tempdir().unwrap();
        let include = folder.path().join("include");
        std::fs::create_dir(&include).unwrap();
        for header in HEADERS {
            let path = include.join(header);
            assert_eq!(
                headers(Some(folder.path())),
                Err(CudaSetupError::Header { path: path.clone() })
            );
            std::fs::write(path, "").unwrap();
        }
        assert_eq!(headers(Some(folder.path())), Ok(()));
    }

    /// [`toolkit`] in a process of its own, whose environment the test below sets.
    #[test]
    #[ignore = "run by the test below"]
    fn child() {
        println!("found: {:?}", toolkit());
    }

    #[test]
    fn cuda_path_decides_where_headers_are_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "cuda::tests::child", "--ignored", "--nocapture"])
            .env("CUDA_PATH", folder.path())
            .output()
            .unwrap();
        let output = String::from_utf8(child.stdout).unwrap();
        let header = folder.path().join("include").join(HEADERS[0]);
        let expected = format!("found: Err({:?})", CudaSetupError::Header { path: header });
        assert!(output.contains(&expected), "{output}");
    }

    #[test]
    fn every_message_says_what_to_do() {
        for error in [
            CudaSetupError::Driver,
            CudaSetupError::Compiler,
            CudaSetupError::Toolkit,
            CudaSetupError::Collectives,
        ] {
            assert!(error.to_string().contains("install"), "{error}");
        }
    }
}
