//! Saving and loading models, latent or packed, as burnpack (`.bpk`) or safetensors.
//!
//! A file holds plain tensors under the paths that Burn's own records use. A packed layer is
//! `<layer>.weight` (scales, F32 `[1, scales]`), `<layer>.weight.packed.codes` (U32, canonical
//! layout) and `<layer>.header` (U32, [`PackedHeader`](tritburn_formats::PackedHeader)).
//!
//! Everything is checked before anything is loaded, so an error leaves no half-loaded model.
//!
//! # Examples
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use tritburn::{BitLinearConfig, Pack, store};
//!
//! let device = Device::default();
//! let config = BitLinearConfig::new(64, 32);
//! let packed = config.init(&device).pack()?;
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("layer.safetensors");
//! store::save(&packed, &path)?;
//!
//! // A packed file makes a new model a packed one.
//! let loaded = store::load(&config.init(&device), &path)?;
//! assert!(loaded.is_packed());
//! let x = Tensor::<2>::ones([1, 64], &device);
//! assert_eq!(loaded.forward(x.clone()).into_data(), packed.forward(x).into_data());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod burnpack;
mod check;
mod collect;
mod convert;
mod error;
mod file;
mod load;
mod safetensors;

use std::path::Path;

use burn::module::Module;

pub use error::StoreError;
use file::Container;

/// Writes every parameter of `model` to `path`; the extension chooses the container. The file
/// appears whole or not at all.
///
/// # Errors
/// [`StoreError::Extension`], [`StoreError::Read`] or [`StoreError::Write`].
pub fn save<M: Module>(model: &M, path: impl AsRef<Path>) -> Result<(), StoreError> {
    let path = path.as_ref();
    let container = Container::of(path)?;
    let tensors = collect::tensors(model)?;
    match container {
        Container::Burnpack => burnpack::write(path, tensors),
        Container::Safetensors => safetensors::write(path, tensors),
    }
}

/// A copy of `model` with the parameters of the file at `path`.
///
/// A packed file loads into an unpacked model of the same configuration, which comes back packed;
/// latent weights of that model are never initialised.
///
/// Every parameter keeps its element type, whatever the file's: floats of the file are widened, or
/// rounded to nearest, ties to even.
///
/// # Errors
/// [`StoreError`], naming the tensor, if the file cannot be read, is damaged, has another format
/// version, or holds anything but exactly the tensors of this model. `model` is not changed.
pub fn load<M: Module>(model: &M, path: impl AsRef<Path>) -> Result<M, StoreError> {
    let path = path.as_ref();
    let file = match Container::of(path)? {
        Container::Burnpack => burnpack::read(path)?,
        Container::Safetensors => safetensors::read(path)?,
    };
    load::into_model(model, file)
}
