//! Optimisers whose step is one operation a parameter, and clipping that does not wait for the
//! device.
//!
//! ```
//! use burn::optim::{GradientsParams, ModuleOptimizer};
//! # use burn::nn::LinearConfig;
//! # use burn::tensor::{Device, Tensor};
//! use tritburn::optim::{AdamWConfig, GlobalNormClip};
//!
//! # let device = Device::default().autodiff();
//! # let model = LinearConfig::new(4, 2).init(&device);
//! # let loss = model.forward(Tensor::<2>::ones([3, 4], &device)).sum();
//! let clip = GlobalNormClip::new(1.0);
//! let adamw = AdamWConfig::new().with_weight_decay(0.1).build();
//! let mut optimizer = ModuleOptimizer::from(adamw.with_clip(clip.clone()));
//! let grads = GradientsParams::from_grads(loss.backward(), &model);
//! let norm = clip.measure(&grads, &model);
//! let model = optimizer.step(1e-3, model, grads);
//! // Read it when it is to be printed: that waits for the device.
//! assert!(norm.into_scalar::<f32>() > 0.0);
//! # let _ = model;
//! ```

mod adamw;
mod clip;

pub use adamw::{AdamW, AdamWConfig};
pub use clip::{GlobalNormClip, clip_by_global_norm};
