//! Optimisers whose step is one operation a parameter, and clipping that does not wait for the
//! device.
//!
//! ```
//! use burn::optim::GradientsParams;
//! # use burn::nn::LinearConfig;
//! # use burn::tensor::{Device, Tensor};
//! use tritburn::optim::{AdamWConfig, clip_by_global_norm};
//!
//! # let device = Device::default().autodiff();
//! # let model = LinearConfig::new(4, 2).init(&device);
//! # let loss = model.forward(Tensor::<2>::ones([3, 4], &device)).sum();
//! let mut optimizer = AdamWConfig::new().with_weight_decay(0.1).init();
//! let grads = GradientsParams::from_grads(loss.backward(), &model);
//! let (grads, norm) = clip_by_global_norm(grads, &model, 1.0);
//! let model = optimizer.step(1e-3, model, grads);
//! // Read it when it is to be printed: that waits for the device.
//! assert!(norm.into_scalar::<f32>() > 0.0);
//! # let _ = model;
//! ```

mod adamw;
mod clip;

pub use adamw::{AdamW, AdamWConfig};
pub use clip::clip_by_global_norm;
