//! Putting a checked file into a model.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Bool, Int, Tensor, TensorData};

use super::error::StoreError;
use super::file::Tensors;
use super::{check, convert};
use crate::nn::{AttachPacked, PackedParts, PackedWeight};
use crate::pack::{BitLayer, LayerWeight, bit_layers};

/// A copy of `model` holding `file`, packed where the file is.
pub(super) fn into_model<M: Module>(model: &M, file: Tensors) -> Result<M, StoreError> {
    let layers = bit_layers(model)?;
    check::headers(&layers, &file)?;
    let skeleton = pack_like(model.clone(), layers, &file)?;
    let types = check::tensors(&skeleton, &file)?;
    check::packed(&bit_layers(&skeleton)?, &file)?;
    let file = convert::to_types(file, &types)?;
    Ok(skeleton.map(&mut Load {
        path: Vec::new(),
        file,
    }))
}

/// Gives the layers that are packed in the file blank packed weights.
fn pack_like<M: Module>(model: M, layers: Vec<BitLayer>, file: &Tensors) -> Result<M, StoreError> {
    let mut blank = HashMap::new();
    for BitLayer {
        path,
        layout,
        weight,
    } in layers
    {
        let packed_in_file = file.contains_key(&codes_path(&path));
        match weight {
            LayerWeight::Latent(latent) if packed_in_file => {
                blank.insert(path, PackedParts::blank(layout, &latent.lazy_device()));
            }
            LayerWeight::Packed { .. } if !packed_in_file => {
                return Err(StoreError::LatentIntoPacked { tensor: path });
            }
            _ => {}
        }
    }
    Ok(model.apply_reparameterization(AttachPacked {
        take: |path: &str| blank.remove(path),
    }))
}

/// Where the codes of the weight at `path` are stored.
pub(super) fn codes_path(path: &str) -> String {
    use burn::module::Reparameterization;
    format!("{path}.{}.codes", PackedWeight::NAME)
}

/// Takes every parameter from a file that has passed the checks, in the model's types.
struct Load {
    path: Vec<String>,
    file: Tensors,
}

impl Load {
    fn take(&mut self) -> Option<TensorData> {
        self.file.remove(&self.path.join("."))
    }
}

impl ModuleMapper for Load {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(data) = self.take() else {
            return param;
        };
        let (id, device) = (param.id, param.lazy_device());
        let dtype = data.dtype();
        param.transform_for_load(Tensor::from_data(data, (&device, dtype)), id)
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        let Some(data) = self.take() else {
            return param;
        };
        let (id, device) = (param.id, param.lazy_device());
        let dtype = data.dtype();
        param.transform_for_load(Tensor::from_data(data, (&device, dtype)), id)
    }

    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        let Some(data) = self.take() else {
            return param;
        };
        let (id, device) = (param.id, param.lazy_device());
        param.transform_for_load(Tensor::from_data(data, &device), id)
    }
}
