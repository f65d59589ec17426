//! The decoder as a Burn module: it trains, and it is saved as the folder that everything else runs.
//!
//! ```text
//! config ──► TrainableModel::new ───────────┐
//! checkpoint ──► from_checkpoint ──► TrainableModel ──► loss ──► optimiser
//!                                           │
//!                        save(folder) ◄─────┘──► as_checkpoint: any reader of checkpoints
//!                             │
//!        CausalLm::load, convert, the `tritburn` command
//! ```
//!
//! Parameters are f32: latent weights, gains of norms, embedding, head. The residual stream and the
//! activations have the [`dtype`](TrainableOptions::dtype) that the model was made with, statistics and
//! loss are f32. Projections that share their input are one matrix, as in the
//! [inference model](crate::model), with a scale for each; files hold them apart.
//!
//! ```
//! use burn::tensor::{Device, Int, Tensor};
//! use tritburn_models::DecoderConfig;
//! use tritburn_models::config::Quantization;
//! use tritburn_models::trainable::{SaveOptions, TrainableModel, TrainableOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let config = DecoderConfig {
//!     vocab_size: 256,
//!     hidden_size: 64,
//!     intermediate_size: 48,
//!     num_hidden_layers: 1,
//!     num_attention_heads: 2,
//!     num_key_value_heads: 1,
//!     head_dim: 32,
//!     max_position_embeddings: 64,
//!     bos_token_id: None,
//!     eos_token_ids: Vec::new(),
//!     quantization: Quantization::Online,
//!     ..DecoderConfig::b1_58_2b_4t()
//! };
//! let device = Device::default().autodiff();
//! let model = TrainableModel::new(&config, &TrainableOptions::default(), &device)?;
//! let ids = |ids: [i32; 4]| Tensor::<2, Int>::from_data([ids], &device);
//! let loss = model.loss(ids([1, 2, 3, 4]), ids([2, 3, 4, 5]))?;
//! let gradients = loss.backward(); // for an optimiser
//! model.save(folder.path().join("model"), &SaveOptions::default())?;
//! # drop(gradients);
//! # Ok(())
//! # }
//! ```

mod checkpoint;
mod distill;
mod error;
mod layer;
mod load;
mod model;
mod options;
mod projection;
mod save;

pub use checkpoint::TrainedCheckpoint;
pub use distill::Distillation;
pub use error::TrainableError;
pub use model::TrainableModel;
pub use options::TrainableOptions;
pub use save::{SaveOptions, SavedType};
