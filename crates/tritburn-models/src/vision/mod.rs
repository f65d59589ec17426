//! Ternary vision transformers: a Burn module that trains, and the same at 2 bits a weight.
//!
//! ```text
//! VisionConfig ──► VisionTransformer::new ──► logits, features ──► loss ──► optimiser
//!                                                  │
//!                           rounded, save ◄────────┤
//!                             │                    └──► pack ──► save (2 bits a weight)
//!          VisionTransformer::load, `tritburn classify`, `inspect`, `convert`
//! ```
//!
//! Patches of an image are tokens (Dosovitskiy et al. 2021, arXiv 2010.11929). A block is multi-query
//! attention (Shazeer 2019, arXiv 1911.02150) behind a layer norm, and a feed-forward part whose two
//! projections have a norm inside (BitMedViT, arXiv 2510.13760). [`TernaryLayers`] says which projections
//! have ternary weights; the float twin has none.
//!
//! [`Pack`](tritburn::Pack) makes the packed model: the same type and the same numbers. Folders hold
//! `config.json` and `model.safetensors`.
//!
//! ```
//! use burn::module::Module;
//! use burn::tensor::{DType, Device, Tensor};
//! use tritburn::Pack;
//! use tritburn_models::vision::{TernaryLayers, VisionConfig, VisionTransformer};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let config = VisionConfig {
//!     image_size: 16,
//!     patch_size: 4,
//!     hidden_size: 32,
//!     intermediate_size: 64,
//!     num_hidden_layers: 2,
//!     num_attention_heads: 4,
//!     ternary: TernaryLayers::FeedForward,
//!     ..VisionConfig::new(1, ["cat", "dog", "bird"])
//! };
//! let device = Device::default();
//! let model = VisionTransformer::new(&config, DType::F32, &device.clone().autodiff())?;
//! let images = Tensor::<4>::zeros([2, 1, 16, 16], &device);
//! let trained = model.valid().rounded()?;
//! let packed = trained.pack()?;
//! packed.save(folder.path().join("packed"), false)?;
//!
//! let loaded = VisionTransformer::load(folder.path().join("packed"), DType::F32, &device)?;
//! let logits = loaded.logits(images.clone())?;
//! assert_eq!(logits.dims(), [2, 3]);
//! assert_eq!(logits.into_data(), trained.logits(images)?.into_data());
//! # Ok(())
//! # }
//! ```

mod block;
mod classifier;
mod config;
mod drop_path;
mod error;
mod folder;
mod model;
mod picture;
mod projection;
mod size;

pub use classifier::Classifier;
pub use config::{Labelling, TernaryLayers, VisionConfig};
pub use drop_path::DropPath;
pub use error::{ConfigProblem, VisionError};
pub use folder::is_folder;
pub use model::VisionTransformer;
pub use picture::{Fit, Picture};
