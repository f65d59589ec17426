//! Packing a whole model without changing its type.

mod layers;

use std::collections::{HashMap, HashSet};

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Int, Tensor};
use tritburn_formats::PackedLayout;

pub(crate) use layers::{BitLayer, LayerWeight, bit_layers, read_vec};

use crate::error::PackError;
use crate::nn::{AttachPacked, PackedParts};
use crate::ops;

/// Packs every [`BitLinear`](crate::BitLinear) of a model. Implemented for every [`Module`].
///
/// # Examples
///
/// ```
/// use burn::module::Module;
/// use burn::tensor::{Device, Tensor};
/// use tritburn::{BitLinear, BitLinearConfig, Pack};
///
/// #[derive(Module, Debug)]
/// struct Mlp {
///     up: BitLinear,
///     down: BitLinear,
/// }
///
/// let device = Device::default();
/// let model = Mlp {
///     up: BitLinearConfig::new(32, 64).init(&device),
///     down: BitLinearConfig::new(64, 32).init(&device),
/// };
/// let packed = model.pack()?; // 2 bits a weight, to run and to save
/// assert!(packed.up.is_packed());
/// let x = Tensor::<2>::ones([1, 32], &device);
/// assert_eq!(
///     packed.up.forward(x.clone()).into_data(),
///     model.up.forward(x).into_data()
/// );
///
/// let latent = packed.unpack()?; // to train on
/// assert!(!latent.up.is_packed());
/// # Ok::<(), tritburn::PackError>(())
/// ```
pub trait Pack: Module {
    /// The packed twin: the same Rust type and the same numbers, with 2-bit codes in place of each
    /// `BitLinear`'s latent weight. Layers that are packed already stay as they are.
    ///
    /// # Errors
    /// [`PackError`], naming the tensor: a weight that holds a NaN or an infinity, or that carries
    /// another reparameterization.
    fn pack(&self) -> Result<Self, PackError>;

    /// The latent twin, to train on: each packed weight becomes a latent one that quantises to the
    /// same codes and scales (scales up to f32 rounding; int2 codes may move where a row is nearly
    /// all ±1.5). Layers that are latent already stay as they are.
    ///
    /// Other reparameterizations are merged, as [`Module::materialize`] does. That method alone
    /// gives the same weights, but leaves them frozen.
    ///
    /// # Errors
    /// [`PackError`], naming the tensor, if a header cannot be read.
    fn unpack(&self) -> Result<Self, PackError>;
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

    fn unpack(&self) -> Result<Self, PackError> {
        let packed = bit_layers(self)?
            .into_iter()
            .filter(|layer| matches!(layer.weight, LayerWeight::Packed { .. }))
            .map(|layer| layer.path)
            .collect();
        let path = Vec::new();
        Ok(self.clone().materialize().map(&mut Train { path, packed }))
    }
}

/// Lets gradients reach the weights that were packed.
struct Train {
    path: Vec<String>,
    packed: HashSet<String>,
}

impl ModuleMapper for Train {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.packed.contains(&self.path.join(".")) {
            true => param.set_require_grad(true),
            false => param,
        }
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
        ops::quantize_weight(latent.detach(), layout).map_err(|source| PackError::Tensor {
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
