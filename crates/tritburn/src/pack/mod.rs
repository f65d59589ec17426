//! Packing a whole model without changing its type.

mod layers;

use std::collections::HashMap;

use burn::module::Module;
use burn::tensor::{Int, Tensor};
use thiserror::Error;
use tritburn_formats::PackedLayout;

pub(crate) use layers::{BitLayer, LayerWeight, bit_layers, read_vec};

use crate::error::Error;
use crate::nn::{AttachPacked, PackedParts};
use crate::ops;

/// Why a model was not packed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PackError {
    /// A latent weight holds a NaN or an infinity.
    #[error("`{tensor}` holds a NaN or infinite weight (scale {scale} of {scales} is {value})")]
    NonFinite {
        /// Path of the weight in the model.
        tensor: String,
        /// Index of the first bad scale.
        scale: usize,
        /// Number of scales.
        scales: usize,
        /// The scale found.
        value: f32,
    },
    /// A layer's weight does not have the shape its header describes, or its device cannot quantise.
    #[error("`{tensor}`: {source}")]
    Layer {
        /// Path of the layer's tensor in the model.
        tensor: String,
        /// What is wrong.
        source: Error,
    },
    /// The weight carries another reparameterization, which packing would lose.
    #[error("`{tensor}` carries the reparameterization `{name}`: materialize() the model first")]
    Reparameterized {
        /// Path of the weight in the model.
        tensor: String,
        /// Name of the other reparameterization.
        name: String,
    },
    /// A scale that no quantiser makes.
    #[error("`{tensor}`: scale {index} is {value}, not a positive number")]
    Scale {
        /// Path of the weight.
        tensor: String,
        /// Index of the scale.
        index: usize,
        /// The scale found.
        value: f32,
    },
    /// A tensor could not be read back from its device.
    #[error("`{tensor}` could not be read from its device: {reason}")]
    Read {
        /// Path of the tensor in the model.
        tensor: String,
        /// What the device said.
        reason: String,
    },
}

/// Packs every [`BitLinear`](crate::BitLinear) of a model. Implemented for every [`Module`].
pub trait Pack: Module {
    /// The packed twin: the same Rust type and the same numbers, with 2-bit codes in place of each
    /// `BitLinear`'s latent weight. Layers that are packed already stay as they are.
    ///
    /// [`Module::materialize`] goes back to latent weights with the same codes.
    ///
    /// # Errors
    /// [`PackError`], naming the tensor.
    fn pack(&self) -> Result<Self, PackError>;
}

impl<M: Module> Pack for M {
    fn pack(&self) -> Result<Self, PackError> {
        let mut packed = HashMap::new();
        for BitLayer {
            path,
            layout,
            weight,
        } in bit_layers(self)?
        {
            if let LayerWeight::Latent(latent) = weight {
                let (codes, scales) = quantize_param(&path, latent.val(), &layout)?;
                packed.insert(
                    path,
                    PackedParts {
                        codes,
                        scales,
                        layout,
                    },
                );
            }
        }
        Ok(self.clone().apply_reparameterization(AttachPacked {
            take: |path: &str| packed.remove(path),
        }))
    }
}

/// Quantises the weight at `path`, refusing one that is not finite.
pub(crate) fn quantize_param(
    path: &str,
    latent: Tensor<2>,
    layout: &PackedLayout,
) -> Result<(Tensor<1, Int>, Tensor<1>), PackError> {
    let tensor = path.to_string();
    let (codes, scales) =
        ops::quantize_weight(latent.detach(), layout).map_err(|source| PackError::Layer {
            tensor: tensor.clone(),
            source,
        })?;
    let host = read_vec::<f32>(path, scales.clone().try_into_data())?;
    match host.iter().position(|scale| !scale.is_finite()) {
        Some(scale) => Err(PackError::NonFinite {
            tensor,
            scale,
            scales: host.len(),
            value: host[scale],
        }),
        None => Ok((codes, scales)),
    }
}

/// Refuses scales that are not positive and finite.
pub(crate) fn check_scales(path: &str, scales: &[f32]) -> Result<(), PackError> {
    let good = |scale: &f32| scale.is_finite() && *scale > 0.0;
    match scales.iter().position(|scale| !good(scale)) {
        Some(index) => Err(PackError::Scale {
            tensor: path.to_string(),
            index,
            value: scales[index],
        }),
        None => Ok(()),
    }
}
